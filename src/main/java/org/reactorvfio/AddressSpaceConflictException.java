package org.reactorvfio;

import org.jspecify.annotations.Nullable;

/** A device cannot be in the address space that it was to share: another back end is behind it, or its IOMMU does not fit. */
public class AddressSpaceConflictException extends VfioException {
  private static final long serialVersionUID = 1L;

  /**
   * Creates the failure.
   *
   * @param operation the operation that failed
   * @param device the device it failed on
   * @param errno the kernel's error number, or 0
   * @param problem what went wrong
   * @param remedy what to do about it
   * @param cause the cause, if another failure led here
   */
  public AddressSpaceConflictException(
      String operation,
      String device,
      int errno,
      String problem,
      String remedy,
      @Nullable Throwable cause) {
    super(operation, device, errno, problem, remedy, cause);
  }

  /**
   * Creates the failure without a cause.
   *
   * @param operation the operation that failed
   * @param device the device it failed on
   * @param errno the kernel's error number, or 0
   * @param problem what went wrong
   * @param remedy what to do about it
   */
  public AddressSpaceConflictException(
      String operation, String device, int errno, String problem, String remedy) {
    super(operation, device, errno, problem, remedy);
  }
}
