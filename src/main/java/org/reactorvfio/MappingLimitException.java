package org.reactorvfio;

import org.jspecify.annotations.Nullable;

/** An address space has as many mappings as it may have; for a type 1 container that is vfio_iommu_type1.dma_entry_limit. */
public class MappingLimitException extends VfioException {
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
  public MappingLimitException(
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
  public MappingLimitException(
      String operation, String device, int errno, String problem, String remedy) {
    super(operation, device, errno, problem, remedy);
  }
}
