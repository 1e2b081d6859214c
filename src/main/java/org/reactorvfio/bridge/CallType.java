package org.reactorvfio.bridge;

/** The operations that cross the wire, by their number there: their order must not change. */
enum CallType {
  DEVICE_INFO("device info", true),
  REGION_INFO("region info", true),
  IRQ_INFO("irq info", true),
  SET_IRQS("VFIO_DEVICE_SET_IRQS", false),
  READ("read", false),
  WRITE("write", false),
  RESET("reset", false),
  HOT_RESET_INFO("hot reset info", true),
  HOT_RESET("hot reset", false),
  FEATURE("feature", false);

  private final String title;
  private final boolean repeatable;

  CallType(String title, boolean repeatable) {
    this.title = title;
    this.repeatable = repeatable;
  }

  /** What messages call it. */
  String title() {
    return title;
  }

  /** Whether asking twice is as good as asking once: then it is asked again after a broken connection. */
  boolean repeatable() {
    return repeatable;
  }
}
