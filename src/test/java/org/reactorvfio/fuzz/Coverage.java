package org.reactorvfio.fuzz;

import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;

/** What the coverage agent has seen of some classes: it keeps a flag for every branch in an array of the class's. Nothing without it. */
final class Coverage {
  private static final String PROBES = "$jacocoInit";

  private final List<boolean[]> probes = new ArrayList<>();
  private int reached;

  Coverage(List<Class<?>> classes) {
    for (Class<?> type : classes) {
      for (Method method : type.getDeclaredMethods()) {
        if (method.getName().equals(PROBES)) {
          try {
            method.setAccessible(true);
            probes.add((boolean[]) method.invoke(null, new Object[method.getParameterCount()]));
          } catch (ReflectiveOperationException e) {
            throw new IllegalStateException("the probes of " + type + " cannot be had", e);
          }
        }
      }
    }
  }

  /** Whether more was reached since this was asked last. */
  boolean grew() {
    int now = 0;
    for (boolean[] flags : probes) {
      for (boolean flag : flags) {
        now += flag ? 1 : 0;
      }
    }
    boolean grew = now > reached;
    reached = now;
    return grew;
  }

  int reached() {
    return reached;
  }
}
