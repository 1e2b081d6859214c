package org.reactorvfio.linux;

import com.sun.jna.Pointer;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * A shared mapping of a file or a device that can be given back while other threads are in the middle of an access.
 *
 * <p>{@link #release()} cannot simply unmap the range: an access behind it would be a segmentation fault, which ends the
 * process, or would hit whatever was mapped at the same place meanwhile. It replaces the range, atomically, by a mapping of
 * an empty file: from then on nothing refers to what was mapped, and an access raises SIGBUS, which the JVM turns into an
 * {@link InternalError} on its own access paths (buffers and VarHandles; never JNA's {@code Pointer}). The address range
 * itself goes when no buffer can reach it any more, so that its addresses are never used for something else before.
 */
public final class Mapping {
  /** What the address of every mapping is at least a multiple of: the smallest page of x86-64 and aarch64. */
  public static final int ALIGNMENT = 4096;

  private static final Cleaner CLEANER = Cleaner.create();
  private static final Object EMPTY_LOCK = new Object();
  private static int empty = -1;

  private final ByteBuffer buffer;
  private final Range range;

  private Mapping(Range range) {
    this.range = range;
    // The JVM keeps this root buffer reachable for as long as a slice, duplicate or view of it is.
    this.buffer =
        new Pointer(range.address).getByteBuffer(0, range.length).order(ByteOrder.nativeOrder());
    CLEANER.register(buffer, range);
  }

  /**
   * Maps a file, shared.
   *
   * @param fd the file; may be closed afterwards
   * @param offset the offset in the file, a multiple of the page size
   * @param length the length in bytes, a multiple of the page size, at most 2 GiB less one page: what a buffer can span
   * @param writable whether the memory may be written; a write to memory mapped read-only would end the process, so the
   *     buffer is read-only then
   */
  public static Mapping map(int fd, long offset, long length, boolean writable)
      throws LinuxException {
    if (length <= 0 || length > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "a mapping has 1 to " + Integer.MAX_VALUE + " bytes, not " + length);
    }
    int protection = writable ? Syscalls.PROT_READ_WRITE : Syscalls.PROT_READ;
    // Before the mapping is made, so that whatever could be mapped can also be released.
    int replacement = emptyFile();
    long address = Syscalls.mmap(0, length, protection, Syscalls.MAP_SHARED, fd, offset);
    if (address < 0 && address > -4096) {
      throw new LinuxException("mmap", (int) -address);
    }
    Held.mapped(length);
    return new Mapping(new Range(address, length, writable, replacement));
  }

  private static int emptyFile() throws LinuxException {
    synchronized (EMPTY_LOCK) {
      if (empty < 0) {
        int fd = Syscalls.memfd("reactor-vfio-released", 0);
        if (fd < 0) {
          throw new LinuxException("memfd_create", -fd);
        }
        empty = fd;
      }
      return empty;
    }
  }

  /** A new view of the memory, in the machine's byte order; read-only if the mapping is. */
  public ByteBuffer buffer() {
    ByteBuffer view = range.writable ? buffer.duplicate() : buffer.asReadOnlyBuffer();
    return view.order(ByteOrder.nativeOrder());
  }

  /** The address of the first byte, for system calls. Valid for as long as a buffer or the mapping is reachable. */
  public long address() {
    return range.address;
  }

  /** The length in bytes. */
  public long length() {
    return range.length;
  }

  /**
   * Gives back what was mapped, at once. Idempotent, and safe while other threads access the memory.
   *
   * @throws IllegalStateException if the kernel refused, which leaves everything as it was
   */
  public void release() {
    range.release();
    Reference.reachabilityFence(this);
  }

  /** Tells whether the mapping was released, or is about to be. */
  public boolean released() {
    return range.released;
  }

  /** The address range; must not refer to the buffer, whose unreachability ends it. */
  private static final class Range implements Runnable {
    final long address;
    final long length;
    final boolean writable;
    final int replacement;
    volatile boolean released;

    Range(long address, long length, boolean writable, int replacement) {
      this.address = address;
      this.length = length;
      this.writable = writable;
      this.replacement = replacement;
    }

    synchronized void release() {
      if (released) {
        return;
      }
      int protection = writable ? Syscalls.PROT_READ_WRITE : Syscalls.PROT_READ;
      int flags = Syscalls.MAP_SHARED | Syscalls.MAP_FIXED;
      // First, so that whoever meets the SIGBUS finds out why.
      released = true;
      long replaced = Syscalls.mmap(address, length, protection, flags, replacement, 0);
      if (replaced != address) {
        released = false;
        throw new IllegalStateException(new LinuxException("mmap", (int) -replaced));
      }
      Held.unmapped(length);
    }

    @Override
    public void run() {
      if (!released) {
        Held.unmapped(length);
      }
      // Cannot fail: the range is whole, ours, and splits no other mapping.
      Syscalls.munmap(address, length);
    }
  }
}
