package org.reactorvfio.discovery;

import org.reactorvfio.VfioException;

/**
 * Something that stands in the way of using a device.
 *
 * @param failure what opening or using the device would fail with; its type tells what kind of finding it is
 * @param certain true if opening fails for this reason, false if it depends: on what is asked for, or on what cannot be seen
 *     from outside
 */
public record Finding(VfioException failure, boolean certain) {
  @Override
  public String toString() {
    return (certain ? "fails: " : "may fail: ") + failure.problem() + "\n      mend: "
        + failure.remedy();
  }
}
