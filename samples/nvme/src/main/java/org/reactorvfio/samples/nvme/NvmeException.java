package org.reactorvfio.samples.nvme;

/** A command that did not succeed: the controller's status, a time limit, or a reset that ended it. */
public class NvmeException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** The status of a command that the controller did not answer. */
  public static final int NO_STATUS = -1;

  private final int status;

  NvmeException(String message, int status) {
    super(message);
    this.status = status;
  }

  /** The controller answered a command with an error. */
  static NvmeException failed(Command command, int status) {
    return new NvmeException(
        String.format(
            "%s failed: status type %d, code 0x%02x", command, status >> 8 & 7, status & 0xff),
        status);
  }

  /** The status field without phase and flags: code in bits 0 to 7, code type in bits 8 to 10 (NVMe 1.4, 4.6.1). */
  public int status() {
    return status;
  }

  /** A command that a reset or a shutdown ended: it may have been carried out, or not. */
  public static final class Aborted extends NvmeException {
    private static final long serialVersionUID = 1L;

    Aborted(Command command, String why) {
      super(command + " was ended by " + why, NO_STATUS);
    }
  }

  /** A command that the controller did not answer in time; reset the controller to have its memory back. */
  public static final class TimedOut extends NvmeException {
    private static final long serialVersionUID = 1L;

    TimedOut(Command command, long millis) {
      super(command + " was not answered within " + millis + " ms", NO_STATUS);
    }
  }
}
