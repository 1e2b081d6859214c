package org.reactorvfio.linux;

/** A system call failed; whoever knows the device and the operation turns this into a {@code VfioException}. */
public final class LinuxException extends Exception {
  private static final long serialVersionUID = 1L;

  private final String call;
  private final int errno;

  public LinuxException(String call, int errno) {
    super(call + ": " + Syscalls.describe(errno) + " (errno " + errno + ")");
    this.call = call;
    this.errno = errno;
  }

  /** The name of the system call. */
  public String call() {
    return call;
  }

  /** The error number, positive. */
  public int errno() {
    return errno;
  }
}
