package org.reactorvfio.linux;

import com.sun.jna.Function;
import com.sun.jna.JNIEnv;
import com.sun.jna.Library;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Pointer;
import java.lang.ref.Reference;
import java.util.Map;

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

  // The functions' places in JNI's table, which its specification fixes.
  private static final int REGISTER_NATIVES = 215;
  private static final int EXCEPTION_CHECK = 228;

  static {
    if (!POLLS_REPORT) {
      registerExceptionCheck();
    }
  }

  private AccessFaults() {}

  private static boolean pollsReport() {
    String machine = System.getProperty("java.vm.name", "");
    return (machine.contains("OpenJDK") || machine.contains("HotSpot"))
        && Runtime.version().feature() >= 25;
  }

  /**
   * Makes JNI's ExceptionCheck(env) the implementation of {@link #exceptionCheck}. A native method is called with env, its class
   * and its arguments; a C function that expects the first alone leaves the others where they are.
   */
  private static void registerExceptionCheck() {
    // With it JNA passes Java's objects as JNI does, and JNIEnv.CURRENT as env.
    Map<String, ?> jni = Map.of(Library.OPTION_ALLOW_OBJECTS, true);
    // The one way to learn where env is: have it returned.
    Pointer env = (Pointer) NativeLibrary.getInstance("c")
        .getFunction("memmove")
        .invoke(Pointer.class, new Object[] {JNIEnv.CURRENT, JNIEnv.CURRENT, 0L}, jni);
    Pointer functions = env.getPointer(0);
    NativeBuffer name = NativeBuffer.string("exceptionCheck");
    NativeBuffer signature = NativeBuffer.string("(J)Z");
    NativeBuffer method = NativeBuffer.allocate(24);
    method
        .bytes()
        .putLong(0, name.address())
        .putLong(8, signature.address())
        .putLong(16, Pointer.nativeValue(at(functions, EXCEPTION_CHECK)));
    int rc = (Integer) Function.getFunction(at(functions, REGISTER_NATIVES))
        .invoke(
            Integer.class,
            new Object[] {JNIEnv.CURRENT, AccessFaults.class, new Pointer(method.address()), 1},
            jni);
    Reference.reachabilityFence(name);
    Reference.reachabilityFence(signature);
    Reference.reachabilityFence(method);
    if (rc != 0) {
      throw new IllegalStateException("JNI's RegisterNatives failed: " + rc);
    }
  }

  private static Pointer at(Pointer functions, int index) {
    return functions.getPointer(8L * index);
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
