package org.reactorvfio.linux;

/** Memory whose backing a test takes away and gives back, as memory decode does with a BAR. */
public final class TestMemory implements AutoCloseable {
  private final int fd;
  private final long size;

  /** Creates a file in memory. */
  public TestMemory(long size) {
    this.size = size;
    fd = Syscalls.memfd("test", size);
    if (fd < 0) {
      throw new AssertionError(new LinuxException("memfd_create", -fd));
    }
  }

  /** Maps all of it. */
  public Mapping map() throws LinuxException {
    return Mapping.map(fd, 0, size, true);
  }

  public Mapping mapReadOnly() throws LinuxException {
    return Mapping.map(fd, 0, size, false);
  }

  /** From now on an access raises SIGBUS. */
  public void takeAway() {
    truncate(0);
  }

  /** Accesses work again; the memory is zero. */
  public void giveBack() {
    truncate(size);
  }

  private void truncate(long length) {
    int rc = Syscalls.result(LibC.ftruncate(fd, length));
    if (rc < 0) {
      throw new AssertionError(new LinuxException("ftruncate", -rc));
    }
  }

  @Override
  public void close() {
    Syscalls.close(fd);
  }
}
