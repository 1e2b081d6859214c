package org.reactorvfio.linux;

import java.lang.invoke.MethodHandle;
import java.lang.reflect.Array;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The system calls that every event takes, by the shortest way there is. A negative result is {@code -errno}.
 *
 * <p>From JDK 22 on that is {@code java.lang.foreign}, where this module has native access: the user has granted it ({@code
 * --enable-native-access}), or the JVM has let JNA have it on the class path. Else it is JNA, which takes some 150 ns more.
 */
final class EventCalls {
  // Constants for the compiler, which leaves a bare call of them; null where there is only JNA.
  private static final @Nullable MethodHandle READ = foreign("read", "JIJJ");
  private static final @Nullable MethodHandle WRITE = foreign("write", "JIJJ");
  private static final @Nullable MethodHandle EPOLL_WAIT = foreign("epoll_wait", "IIJII");

  private EventCalls() {}

  // A failure through java.lang.foreign has no error number, since the JVM may have overwritten it.
  // What failed had no effect, so it is asked once more through JNA, which keeps the number.

  /** {@code read}. */
  static long read(int fd, long buffer, long count) {
    MethodHandle foreign = READ;
    if (foreign != null) {
      try {
        long n = (long) foreign.invokeExact(fd, buffer, count);
        if (n >= 0) {
          return n;
        }
      } catch (Throwable e) {
        throw new LinkageError("read", e);
      }
    }
    return Syscalls.result(LibC.read(fd, buffer, count));
  }

  /** {@code write}. */
  static long write(int fd, long buffer, long count) {
    MethodHandle foreign = WRITE;
    if (foreign != null) {
      try {
        long n = (long) foreign.invokeExact(fd, buffer, count);
        if (n >= 0) {
          return n;
        }
      } catch (Throwable e) {
        throw new LinkageError("write", e);
      }
    }
    return Syscalls.result(LibC.write(fd, buffer, count));
  }

  /** {@code epoll_wait}. */
  static int epollWait(int epfd, long events, int maximum, int timeoutMillis) {
    MethodHandle foreign = EPOLL_WAIT;
    if (foreign != null) {
      try {
        int n = (int) foreign.invokeExact(epfd, events, maximum, timeoutMillis);
        if (n >= 0) {
          return n;
        }
      } catch (Throwable e) {
        throw new LinkageError("epoll_wait", e);
      }
    }
    return Syscalls.result(LibC.epoll_wait(epfd, events, maximum, timeoutMillis));
  }

  private static @Nullable MethodHandle foreign(String function, String types) {
    return foreign(EventCalls.class.getModule(), function, types);
  }

  /**
   * Finds a function of the C library, by reflection, since this is compiled for a Java that has no {@code java.lang.foreign}.
   *
   * @param caller the module that calls; without native access it gets nothing, since asking would make the JVM warn or throw
   * @param types the result's type and the arguments', I or J
   * @return the function, null if there is only JNA
   */
  static @Nullable MethodHandle foreign(Module caller, String function, String types) {
    try {
      if (!(boolean) Module.class.getMethod("isNativeAccessEnabled").invoke(caller)) {
        return null;
      }
      Class<?> linkerType = Class.forName("java.lang.foreign.Linker");
      Class<?> lookupType = Class.forName("java.lang.foreign.SymbolLookup");
      Class<?> segmentType = Class.forName("java.lang.foreign.MemorySegment");
      Class<?> descriptorType = Class.forName("java.lang.foreign.FunctionDescriptor");
      Class<?> layoutType = Class.forName("java.lang.foreign.MemoryLayout");
      Class<?> optionType = Class.forName("java.lang.foreign.Linker$Option");
      Object linker = linkerType.getMethod("nativeLinker").invoke(null);
      Object lookup = linkerType.getMethod("defaultLookup").invoke(linker);
      Object symbol = ((Optional<?>)
              lookupType.getMethod("find", String.class).invoke(lookup, function))
          .orElseThrow();
      Object arguments = Array.newInstance(layoutType, types.length() - 1);
      for (int i = 1; i < types.length(); i++) {
        Array.set(arguments, i - 1, layout(types.charAt(i)));
      }
      Object descriptor = descriptorType
          .getMethod("of", layoutType, arguments.getClass())
          .invoke(null, layout(types.charAt(0)), arguments);
      Object options = Array.newInstance(optionType, 0);
      return (MethodHandle) linkerType
          .getMethod("downcallHandle", segmentType, descriptorType, options.getClass())
          .invoke(linker, symbol, descriptor, options);
    } catch (ReflectiveOperationException | RuntimeException e) {
      return null;
    }
  }

  private static Object layout(char type) throws ReflectiveOperationException {
    return Class.forName("java.lang.foreign.ValueLayout")
        .getField(type == 'I' ? "JAVA_INT" : "JAVA_LONG")
        .get(null);
  }
}
