package org.reactorvfio.linux;

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
 *       looks there, but JNI's {@code ExceptionCheck} does. So that function itself is registered as the implementation of a
 *       native method here, which is all that the JVM calls then: 11 ns, and nothing is allocated.
 * </ul>
 */
public final class AccessFaults {
  private static final boolean POLLS_REPORT = pollsReport();

  // At least 2, so that the loop in report() passes its back edge; volatile, so that no compiler
  // can know.
  private static volatile int turns = 2;

  static {
    if (!POLLS_REPORT) {
      // A C function that expects env alone leaves the other arguments where they are.
      JniFunctions.register(
          AccessFaults.class, "exceptionCheck", "(J)Z", JniFunctions.exceptionCheck());
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
      exceptionCheck(value);
    }
  }

  // Always false: it throws instead.
  private static native boolean exceptionCheck(long value);
}
