package org.reactorvfio.linux;

import com.sun.jna.Function;
import com.sun.jna.JNIEnv;
import com.sun.jna.Library;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Pointer;
import java.lang.ref.Reference;
import java.util.Map;

/**
 * JNI's own functions, reached through JNA: what makes a function at an address the implementation of a native method, which the
 * JVM then calls with nothing in between. Such a function gets JNI's environment and the method's class before its arguments.
 */
final class JniFunctions {
  // The places in JNI's table, which its specification fixes.
  private static final int REGISTER_NATIVES = 215;
  private static final int EXCEPTION_CHECK = 228;

  private JniFunctions() {}

  /** The address of ExceptionCheck(env). */
  static long exceptionCheck() {
    return Pointer.nativeValue(at(EXCEPTION_CHECK));
  }

  /**
   * Makes a function the implementation of a static native method.
   *
   * @param owner the method's class
   * @param method the method's name
   * @param type its descriptor
   * @param function the function's address
   */
  static void register(Class<?> owner, String method, String type, long function) {
    NativeBuffer name = NativeBuffer.string(method);
    NativeBuffer signature = NativeBuffer.string(type);
    NativeBuffer methods = NativeBuffer.allocate(24);
    methods
        .bytes()
        .putLong(0, name.address())
        .putLong(8, signature.address())
        .putLong(16, function);
    int rc = (Integer) Function.getFunction(at(REGISTER_NATIVES))
        .invoke(
            Integer.class,
            new Object[] {JNIEnv.CURRENT, owner, new Pointer(methods.address()), 1},
            javaObjects());
    Reference.reachabilityFence(name);
    Reference.reachabilityFence(signature);
    Reference.reachabilityFence(methods);
    if (rc != 0) {
      throw new IllegalStateException("JNI's RegisterNatives failed: " + rc);
    }
  }

  private static Pointer at(int index) {
    // The one way to learn where the environment is: have it returned.
    Pointer env = (Pointer) NativeLibrary.getInstance("c")
        .getFunction("memmove")
        .invoke(Pointer.class, new Object[] {JNIEnv.CURRENT, JNIEnv.CURRENT, 0L}, javaObjects());
    return env.getPointer(0).getPointer(8L * index);
  }

  /** With it JNA passes Java's objects as JNI does, and JNIEnv.CURRENT as the environment. */
  private static Map<String, ?> javaObjects() {
    return Map.of(Library.OPTION_ALLOW_OBJECTS, true);
  }
}
