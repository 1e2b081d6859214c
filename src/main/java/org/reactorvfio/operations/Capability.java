package org.reactorvfio.operations;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * One entry of the capability chain behind a VFIO information structure ({@code struct vfio_info_cap_header}). Newer versions
 * of a capability only append fields.
 */
public final class Capability {
  private final int id;
  private final int version;
  private final byte[] content;

  /**
   * Creates a capability.
   *
   * @param id the capability's id, in the numbering of its structure, 0 to 65535
   * @param version the capability's version, 0 to 65535
   * @param content what follows the 8-byte header, in the machine's byte order; copied
   */
  public Capability(int id, int version, byte[] content) {
    this.id = id;
    this.version = version;
    this.content = content.clone();
  }

  /**
   * Returns the id.
   *
   * @return the id, in the numbering of the structure the capability belongs to
   */
  public int id() {
    return id;
  }

  /**
   * Returns the version.
   *
   * @return the version
   */
  public int version() {
    return version;
  }

  /**
   * Returns what follows the header.
   *
   * @return a read-only view in the machine's byte order; offset 0 is offset 8 of the capability in {@code linux/vfio.h}
   */
  public ByteBuffer content() {
    return ByteBuffer.wrap(content).asReadOnlyBuffer().order(ByteOrder.nativeOrder());
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof Capability c
        && id == c.id
        && version == c.version
        && Arrays.equals(content, c.content);
  }

  @Override
  public int hashCode() {
    return 31 * (31 * id + version) + Arrays.hashCode(content);
  }

  @Override
  public String toString() {
    return "Capability[id=" + id + ", version=" + version + ", " + content.length + " bytes]";
  }
}
