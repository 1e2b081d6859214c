package org.reactorvfio.region;

import org.reactorvfio.VfioException;

/** A capability list in configuration space is malformed: it loops, or points to where no capability can be. */
public final class CapabilityListException extends VfioException {
  private static final long serialVersionUID = 1L;

  CapabilityListException(String device, String list, String problem) {
    super(
        "walk of the " + list + " capability list",
        device,
        0,
        problem,
        "the device, or what emulates it, is broken: read its configuration space by offset instead");
  }
}
