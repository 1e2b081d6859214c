package org.reactorvfio.linux;

import com.sun.jna.Native;

/**
 * Makes the JVM report a memory access that raised SIGBUS before the next statement, and keeps the access from being left out.
 *
 * <p>HotSpot skips the faulting instruction, goes on with garbage, and throws {@link InternalError} only where it looks for
 * asynchronous exceptions next, which may be outside of the {@code try} that surrounds the access. {@link #report} is such a
 * place, the cheapest that this JVM has:
 *
 * <ul>
 *   <li>JDK 25 posts a handshake, which every safepoint poll answers: the back edge
 *       of a loop that the compiler cannot count is one. It costs less than 2 ns.
 *   <li>JDK 17 only notes the fault in its thread structure. Neither a poll nor the return from an ordinary native method
 *       looks there, but JNI's {@code ExceptionCheck} does, and JNA calls that behind every directly mapped function. This
 *       costs 50 to 60 ns and allocates nothing.
 * </ul>
 */
public final class AccessFaults {
  private static final boolean POLLS_REPORT = pollsReport();

  // At least 2, so that the loop in report() passes its back edge; volatile, so that no compiler
  // can know.
  private static volatile int turns = 2;

  static {
    if (!POLLS_REPORT) {
      Native.register(AccessFaults.class, "c");
    }
  }

  private AccessFaults() {}

  private static boolean pollsReport() {
    String machine = System.getProperty("java.vm.name", "");
    return (machine.contains("OpenJDK") || machine.contains("HotSpot"))
        && Runtime.version().feature() >= 25;
  }

  /**
   * Throws the error of a fault that happened before in this thread; otherwise does nothing.
   *
   * @param value what the access read: used, so that the compiler may not leave out a read whose result nobody wants
   */
  public static void report(long value) {
    if (POLLS_REPORT) {
      int n = turns;
      if (value == n) {
        n++;
      }
      while (n > 0) {
        n >>= 1;
      }
    } else {
      abs((int) (value ^ value >>> 32));
    }
  }

  private static native int abs(int value);
}
