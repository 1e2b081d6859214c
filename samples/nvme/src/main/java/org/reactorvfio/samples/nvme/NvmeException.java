package org.reactorvfio.samples.nvme;

/** What can go wrong with a controller and its commands; its subtypes tell the causes apart. */
public abstract class NvmeException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private NvmeException(String message, Throwable cause) {
    super(message, cause);
  }

  /** The controller answered a command with an error. */
  public static final class Failed extends NvmeException {
    private static final long serialVersionUID = 1L;

    /** The status field without its phase bit (NVMe 1.4, 4.6.1). */
    private final int status;

    Failed(Command<?> command, int status) {
      super(
          String.format(
              "%s failed: %s (type %d, code 0x%02x), %s",
              command,
              StatusCodes.name(status >> 8 & 7, status & 0xff),
              status >> 8 & 7,
              status & 0xff,
              (status & 1 << 14) != 0 ? "for good" : "it may succeed when tried again"),
          null);
      this.status = status;
    }

    /** What kind of status it is: 0 generic, 1 specific to the command, 2 of the medium or the data's integrity. */
    public int statusCodeType() {
      return status >> 8 & 7;
    }

    /** Which status of its type it is. */
    public int statusCode() {
      return status & 0xff;
    }

    /** Whether the same command would fail again (DNR). */
    public boolean doNotRetry() {
      return (status & 1 << 14) != 0;
    }
  }

  /** A command that a reset, a shutdown or the device's end has ended: it may have been carried out, or not. */
  public static final class Aborted extends NvmeException {
    private static final long serialVersionUID = 1L;

    Aborted(Command<?> command, String why, Throwable cause) {
      super(command + " was ended by " + why, cause);
    }
  }

  /** A command that the controller did not answer in time, and that was then aborted, or ended by resetting the controller. */
  public static final class TimedOut extends NvmeException {
    private static final long serialVersionUID = 1L;

    TimedOut(Command<?> command, long millis) {
      super(command + " was not answered within " + millis + " ms", null);
    }
  }

  /** The controller does not come up, cannot be stopped, or is not one that this driver can drive. */
  public static final class NotReady extends NvmeException {
    private static final long serialVersionUID = 1L;

    NotReady(String message) {
      super(message, null);
    }
  }
}
