package org.reactorvfio.loop;

import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.Arrays;
import org.reactorvfio.linux.Syscalls;
import reactor.blockhound.BlockHound;
import reactor.blockhound.integration.BlockHoundIntegration;

/**
 * Tells BlockHound which of the library's calls block, so that one on a thread that must not is caught: every system call of
 * {@link Syscalls}, but for the loop's own wait. Found by BlockHound through the service loader.
 */
public final class VfioBlockHoundIntegration implements BlockHoundIntegration {
  @Override
  public void applyTo(BlockHound.Builder builder) {
    Arrays.stream(Syscalls.class.getDeclaredMethods())
        .filter(method -> Modifier.isPublic(method.getModifiers()))
        .forEach(
            method -> builder.markAsBlocking(Syscalls.class, method.getName(), descriptor(method)));
    builder.allowBlockingCallsInside(EventLoop.class.getName(), "poll");
  }

  private static String descriptor(Method method) {
    return MethodType.methodType(method.getReturnType(), method.getParameterTypes())
        .toMethodDescriptorString();
  }
}
