package org.reactorvfio.loop;

/** Whether this JVM has a flight recorder: images may be made without the module, whose absence costs the events and no more. */
public final class FlightRecorder {
  /** Events must be touched only where this is true. */
  public static final boolean PRESENT = present();

  private FlightRecorder() {}

  private static boolean present() {
    try {
      Class.forName("jdk.jfr.Event", false, FlightRecorder.class.getClassLoader());
      return true;
    } catch (ClassNotFoundException | LinkageError e) {
      return false;
    }
  }
}
