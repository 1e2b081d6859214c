package org.reactorvfio.linux;

import com.sun.jna.Native;
import com.sun.jna.Pointer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/**
 * Memory outside the heap with a known address, zeroed, in the machine's byte order: what is handed to a system call.
 *
 * <p>It is freed when the object is no longer reachable, so a caller that passes only {@link #address()} on keeps the object
 * in a field, or calls {@link java.lang.ref.Reference#reachabilityFence} behind the call.
 */
public final class NativeBuffer {
  private final ByteBuffer bytes;
  private final long address;

  private NativeBuffer(ByteBuffer bytes) {
    this.bytes = bytes;
    this.address = addressOf(bytes);
  }

  /**
   * Allocates zeroed memory.
   *
   * @param size the size in bytes
   */
  public static NativeBuffer allocate(int size) {
    return new NativeBuffer(ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder()));
  }

  /** Allocates a NUL-terminated string. */
  public static NativeBuffer string(String text) {
    byte[] encoded = text.getBytes(StandardCharsets.UTF_8);
    NativeBuffer buffer = allocate(encoded.length + 1);
    buffer.bytes.put(0, encoded);
    return buffer;
  }

  /** Returns the address of a direct buffer's first byte, whatever its position. */
  public static long addressOf(ByteBuffer direct) {
    return Pointer.nativeValue(Native.getDirectBufferPointer(direct));
  }

  /** The bytes; use absolute accesses. */
  public ByteBuffer bytes() {
    return bytes;
  }

  /** The address of the first byte. */
  public long address() {
    return address;
  }

  /** The size in bytes. */
  public int size() {
    return bytes.capacity();
  }
}
