package org.reactorvfio;

import org.jspecify.annotations.Nullable;

/**
 * A failure of a VFIO operation. It names the operation, the device, the kernel's error number where there was one, and what
 * to do about it. Subtypes tell the causes apart that a program may want to handle.
 */
public class VfioException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** The operation that failed, in VFIO's terms. */
  private final String operation;

  /** The device it failed on. */
  private final String device;

  /** The kernel's error number, or 0. */
  private final int errno;

  /** What went wrong. */
  private final String problem;

  /** What to do about it. */
  private final String remedy;

  /**
   * Creates a failure.
   *
   * @param operation the operation that failed, in VFIO's terms, such as {@code VFIO_DEVICE_SET_IRQS}
   * @param device the device it failed on
   * @param errno the kernel's error number, or 0 if the failure was found before the kernel was asked
   * @param problem what went wrong, as a sentence part
   * @param remedy what to do about it, as a sentence part
   * @param cause the cause, if another failure led here
   */
  public VfioException(
      String operation,
      String device,
      int errno,
      String problem,
      String remedy,
      @Nullable Throwable cause) {
    super(message(operation, device, errno, problem, remedy), cause);
    this.operation = operation;
    this.device = device;
    this.errno = errno;
    this.problem = problem;
    this.remedy = remedy;
  }

  /**
   * Creates a failure without a cause.
   *
   * @param operation the operation that failed
   * @param device the device it failed on
   * @param errno the kernel's error number, or 0
   * @param problem what went wrong
   * @param remedy what to do about it
   */
  public VfioException(String operation, String device, int errno, String problem, String remedy) {
    this(operation, device, errno, problem, remedy, null);
  }

  private static String message(
      String operation, String device, int errno, String problem, String remedy) {
    String number = errno == 0 ? "" : " (errno " + errno + ")";
    return operation + " on " + device + ": " + problem + number + "; " + remedy;
  }

  /**
   * Returns the operation that failed.
   *
   * @return the operation, in VFIO's terms
   */
  public String operation() {
    return operation;
  }

  /**
   * Returns the device the operation failed on.
   *
   * @return the device's name: a PCI address, or the name of an emulated device
   */
  public String device() {
    return device;
  }

  /**
   * Returns the kernel's error number.
   *
   * @return errno as in {@code asm-generic/errno.h}, or 0 if the failure was found without asking the kernel
   */
  public int errno() {
    return errno;
  }

  /**
   * Returns what went wrong.
   *
   * @return the problem, for a person
   */
  public String problem() {
    return problem;
  }

  /**
   * Returns what to do about the failure.
   *
   * @return advice for a person
   */
  public String remedy() {
    return remedy;
  }
}
