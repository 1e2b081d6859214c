package org.reactorvfio.vendor;

import org.reactorvfio.VfioException;

/**
 * What a device, its firmware or its transport says of the device cannot be: a structure is cut short, has the wrong signature, or
 * points out of where it is.
 */
public final class MalformedDeviceException extends VfioException {
  private static final long serialVersionUID = 1L;

  /**
   * Creates the failure.
   *
   * @param operation what was being decoded
   * @param device the device's name
   * @param problem what is wrong with it
   */
  public MalformedDeviceException(String operation, String device, String problem) {
    super(
        operation,
        device,
        0,
        problem,
        "the device, its firmware, or what emulates it is broken: open the device without this operator");
  }
}
