package org.reactorvfio.vendor.mlx5;

import org.jspecify.annotations.Nullable;
import org.reactorvfio.VfioException;

/** A command that a PF's firmware did not carry out, or of which that is not known. */
public final class Mlx5CommandException extends VfioException {
  private static final long serialVersionUID = 1L;

  private static final int EIO = 5;
  private static final int EAGAIN = 11;
  private static final int ENOMEM = 12;
  private static final int EFAULT = 14;
  private static final int EBUSY = 16;
  private static final int EINVAL = 22;
  private static final int ENOMSG = 42;
  private static final int EBADR = 53;
  private static final int EPROTO = 71;
  private static final int ENOTCONN = 107;
  private static final int ETIMEDOUT = 110;

  /** How it failed. */
  public enum Reason {
    /** The firmware refused it: {@link #status()} and {@link #syndrome()} say why. It has changed nothing. */
    REFUSED,
    /** The firmware could not take it: {@link #status()} says why. It has changed nothing. */
    NOT_DELIVERED,
    /** The firmware did not answer in time. It may still carry the command out. */
    TIMED_OUT,
    /** The firmware's answer contradicts itself. What it has done is not known. */
    MALFORMED,
    /** The PF was reset, closed or lost meanwhile. */
    ABORTED
  }

  /** How it failed. */
  private final Reason reason;

  /** The firmware's status. */
  private final int status;

  /** The firmware's syndrome. */
  private final int syndrome;

  private Mlx5CommandException(
      Reason reason,
      String command,
      String device,
      int errno,
      int status,
      int syndrome,
      String problem,
      String remedy,
      @Nullable Throwable cause) {
    super(command, device, errno, problem, remedy, cause);
    this.reason = reason;
    this.status = status;
    this.syndrome = syndrome;
  }

  /** The firmware answered that it does not do it. */
  static Mlx5CommandException refused(String command, String device, int status, int syndrome) {
    return new Mlx5CommandException(
        Reason.REFUSED,
        command,
        device,
        errnoOfStatus(status),
        status,
        syndrome,
        String.format(
            "the firmware refuses it: %s (status 0x%x), syndrome 0x%x",
            textOfStatus(status), status, syndrome),
        "look the syndrome up in the adapter's release notes, or ask its vendor",
        null);
  }

  /** The command interface could not take it. */
  static Mlx5CommandException notDelivered(String command, String device, int status) {
    return new Mlx5CommandException(
        Reason.NOT_DELIVERED,
        command,
        device,
        errnoOfDelivery(status),
        status,
        0,
        String.format("the firmware could not take it: %s (0x%x)", textOfDelivery(status), status),
        "report this",
        null);
  }

  static Mlx5CommandException timedOut(String command, String device, String problem) {
    return new Mlx5CommandException(
        Reason.TIMED_OUT,
        command,
        device,
        ETIMEDOUT,
        0,
        0,
        problem,
        "reset the PF if that goes on: what its commands use is kept for them until then",
        null);
  }

  static Mlx5CommandException malformed(String command, String device, String problem) {
    return new Mlx5CommandException(
        Reason.MALFORMED,
        command,
        device,
        EPROTO,
        0,
        0,
        "the firmware's answer is not to be trusted: " + problem,
        "reset the PF, and report this",
        null);
  }

  static Mlx5CommandException aborted(
      String command, String device, String problem, @Nullable Throwable cause) {
    return new Mlx5CommandException(
        Reason.ABORTED,
        command,
        device,
        ENOTCONN,
        0,
        0,
        problem,
        "open the PF's command interface again, then its VFs",
        cause);
  }

  /** What the statuses mean, and the errno that Linux's driver makes of them. */
  private static String textOfStatus(int status) {
    return switch (status) {
      case 0x01 -> "internal error";
      case 0x02 -> "bad operation";
      case 0x03 -> "bad parameter";
      case 0x04 -> "bad system state";
      case 0x05 -> "bad resource";
      case 0x06 -> "resource busy";
      case 0x07 -> "firmware not ready";
      case 0x08 -> "limits exceeded";
      case 0x09 -> "bad resource state";
      case 0x0a -> "bad index";
      case 0x0f -> "no resources";
      case 0x10 -> "bad state of a queue pair";
      case 0x30 -> "bad packet";
      case 0x40 -> "too many outstanding completions";
      case 0x50 -> "bad input length";
      case 0x51 -> "bad output length";
      default -> "a status that is not known";
    };
  }

  private static int errnoOfStatus(int status) {
    return switch (status) {
      case 0x02, 0x03, 0x05, 0x09, 0x0a, 0x10, 0x30, 0x40 -> EINVAL;
      case 0x06 -> EBUSY;
      case 0x07, 0x0f -> EAGAIN;
      case 0x08 -> ENOMEM;
      default -> EIO;
    };
  }

  private static String textOfDelivery(int status) {
    return switch (status) {
      case 0x01 -> "wrong signature";
      case 0x02 -> "wrong token";
      case 0x03 -> "wrong block number";
      case 0x04 -> "an output mailbox is not aligned";
      case 0x05 -> "an input mailbox is not aligned";
      case 0x06 -> "internal error";
      case 0x07 -> "wrong input length";
      case 0x08 -> "wrong output length";
      case 0x09 -> "reserved fields are not zero";
      case 0x10 -> "wrong kind of entry";
      default -> "a status that is not known";
    };
  }

  private static int errnoOfDelivery(int status) {
    return switch (status) {
      case 0x01, 0x02 -> EBADR;
      case 0x03, 0x04, 0x05 -> EFAULT;
      case 0x06 -> EIO;
      case 0x07, 0x08, 0x09, 0x10 -> ENOMSG;
      default -> EINVAL;
    };
  }

  /**
   * Returns how it failed.
   *
   * @return the kind of failure
   */
  public Reason reason() {
    return reason;
  }

  /**
   * Returns the firmware's status.
   *
   * @return the command's status if it was {@link Reason#REFUSED}, the delivery's if it was {@link Reason#NOT_DELIVERED}, else 0
   */
  public int status() {
    return status;
  }

  /**
   * Returns the firmware's syndrome: what exactly it did not like, by a number of its vendor's.
   *
   * @return the syndrome, 0 if there is none
   */
  public int syndrome() {
    return syndrome;
  }
}
