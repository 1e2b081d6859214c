package org.reactorvfio.vendor.zdev;

import java.nio.ByteBuffer;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.vendor.MalformedDeviceException;

/** The fields of a capability, in the machine's byte order; offsets count from behind its header. */
final class Fields {
  private final String device;
  private final String name;
  private final ByteBuffer content;

  private Fields(String device, String name, ByteBuffer content) {
    this.device = device;
    this.name = name;
    this.content = content;
  }

  static Fields of(String device, String name, Capability capability) {
    return new Fields(device, name, capability.content());
  }

  long u64(int at) {
    return check(at, 8).getLong(at);
  }

  int u32(int at) {
    return check(at, 4).getInt(at);
  }

  int u16(int at) {
    return Short.toUnsignedInt(check(at, 2).getShort(at));
  }

  int u8(int at) {
    return Byte.toUnsignedInt(check(at, 1).get(at));
  }

  /** A length of 32 bits and so many bytes: {@code util_str} and {@code pfip}. */
  ByteBuffer counted() {
    long length = Integer.toUnsignedLong(u32(0));
    if (length > content.capacity() - 4) {
      throw malformed("says that it has " + length + " bytes behind its length, and has "
          + (content.capacity() - 4));
    }
    return content.slice(4, (int) length);
  }

  private ByteBuffer check(int at, int width) {
    if (at + width > content.capacity()) {
      throw malformed("ends after " + content.capacity() + " bytes, before byte " + (at + width)
          + " that its version has");
    }
    return content;
  }

  private MalformedDeviceException malformed(String problem) {
    return new MalformedDeviceException(
        "decoding of VFIO_DEVICE_GET_INFO", device, "its zPCI " + name + " capability " + problem);
  }
}
