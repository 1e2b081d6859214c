package org.reactorvfio.operations;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.UUID;

/** A question about one of a device's {@link Features}, or a change of it ({@code VFIO_DEVICE_FEATURE}). Immutable. */
public final class FeatureRequest {
  /** What is to be done with a feature. */
  public enum Kind {
    /** Reads it. */
    GET,
    /** Changes it. */
    SET,
    /** Asks whether it is there, and does nothing. */
    PROBE
  }

  private static final int LARGEST = 0xffff;

  private final int feature;
  private final Kind kind;
  private final boolean probesGet;
  private final boolean probesSet;
  private final byte[] data;

  private FeatureRequest(
      int feature, Kind kind, boolean probesGet, boolean probesSet, byte[] data) {
    if (feature < 0 || feature > LARGEST) {
      throw new IllegalArgumentException("a feature has a number of 16 bits, not " + feature);
    }
    this.feature = feature;
    this.kind = kind;
    this.probesGet = probesGet;
    this.probesSet = probesSet;
    this.data = data;
  }

  /**
   * Reads a feature.
   *
   * @param feature one of {@link Features}, or another number of 16 bits
   * @param size how many bytes its data has
   * @return the request
   */
  public static FeatureRequest get(int feature, int size) {
    if (size < 0 || size > LARGEST) {
      throw new IllegalArgumentException("a feature's data has 0 to 65535 bytes, not " + size);
    }
    return new FeatureRequest(feature, Kind.GET, false, false, new byte[size]);
  }

  /**
   * Reads a feature by what it is given.
   *
   * @param feature one of {@link Features}, or another number of 16 bits
   * @param data the feature's data as it goes in, from position to limit; copied
   * @return the request
   */
  public static FeatureRequest get(int feature, ByteBuffer data) {
    return new FeatureRequest(feature, Kind.GET, false, false, copy(data));
  }

  /**
   * Changes a feature.
   *
   * @param feature one of {@link Features}, or another number of 16 bits
   * @param data the feature's data, from position to limit; copied
   * @return the request
   */
  public static FeatureRequest set(int feature, ByteBuffer data) {
    return new FeatureRequest(feature, Kind.SET, false, false, copy(data));
  }

  /**
   * Sets the token that ties an SR-IOV device's VFs to the owner of its PF.
   *
   * @param token the token
   * @return the request
   */
  public static FeatureRequest vfToken(UUID token) {
    // The kernel's uuid_t has the bytes in the order in which they are written.
    ByteBuffer data = ByteBuffer.allocate(16)
        .putLong(token.getMostSignificantBits())
        .putLong(token.getLeastSignificantBits());
    return set(Features.PCI_VF_TOKEN, data.flip());
  }

  /**
   * Lets a device that is not PCI access memory by itself, or stops it. PCI has the command register.
   *
   * @param on whether it may
   * @return the request
   */
  public static FeatureRequest busMaster(boolean on) {
    ByteBuffer data = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(on ? 1 : 0);
    return set(Features.BUS_MASTER, data.flip());
  }

  /**
   * Asks whether the device has a feature.
   *
   * @param feature one of {@link Features}, or another number of 16 bits
   * @return the request; it fails with {@link org.reactorvfio.NotSupportedException} if the device has not
   */
  public static FeatureRequest probe(int feature) {
    return new FeatureRequest(feature, Kind.PROBE, false, false, new byte[0]);
  }

  /**
   * Asks whether the device has a feature, and whether it can be read or changed.
   *
   * @param feature one of {@link Features}, or another number of 16 bits
   * @param get whether reading must be possible
   * @param set whether changing must be possible
   * @return the request
   */
  public static FeatureRequest probe(int feature, boolean get, boolean set) {
    return new FeatureRequest(feature, Kind.PROBE, get, set, new byte[0]);
  }

  private static byte[] copy(ByteBuffer data) {
    if (data.remaining() > LARGEST) {
      throw new IllegalArgumentException(
          "a feature's data has 0 to 65535 bytes, not " + data.remaining());
    }
    byte[] copy = new byte[data.remaining()];
    data.get(data.position(), copy);
    return copy;
  }

  /**
   * Returns the feature.
   *
   * @return its number
   */
  public int feature() {
    return feature;
  }

  /**
   * Returns what is to be done.
   *
   * @return the kind
   */
  public Kind kind() {
    return kind;
  }

  /**
   * Tells whether a probe asks for reading.
   *
   * @return true if so
   */
  public boolean probesGet() {
    return probesGet;
  }

  /**
   * Tells whether a probe asks for changing.
   *
   * @return true if so
   */
  public boolean probesSet() {
    return probesSet;
  }

  /**
   * Returns the data.
   *
   * @return a copy, little-endian
   */
  public ByteBuffer data() {
    return ByteBuffer.wrap(data.clone()).order(ByteOrder.LITTLE_ENDIAN);
  }

  @Override
  public String toString() {
    return kind + " of " + Features.name(feature);
  }
}
