package org.reactorvfio.linux;

import com.sun.jna.Function;
import com.sun.jna.NativeLibrary;

/** Limits of this process, for the time of a test. */
public final class TestLimits {
  private static final int RLIMIT_NOFILE = 7;

  private TestLimits() {}

  /**
   * Does something while this process gets no more descriptors. Whatever classes that needs must be there already: they come from
   * files.
   */
  public static void withoutDescriptors(Runnable work) {
    NativeBuffer before = NativeBuffer.allocate(16);
    NativeBuffer none = NativeBuffer.allocate(16);
    call("getrlimit", before);
    none.bytes().putLong(0, 0).putLong(8, before.bytes().getLong(8));
    call("setrlimit", none);
    try {
      work.run();
    } finally {
      call("setrlimit", before);
    }
  }

  private static void call(String name, NativeBuffer limit) {
    Function function = NativeLibrary.getInstance("c").getFunction(name);
    if (function.invokeInt(new Object[] {RLIMIT_NOFILE, limit.address()}) != 0) {
      throw new IllegalStateException(name + " failed");
    }
  }
}
