package org.reactorvfio;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Threshold;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.Operation;
import reactor.core.publisher.Mono;

/**
 * A device operation that has ended, in flight recordings: by default one that took 20 ms and more, as the JDK has it for its
 * own input and output. Its duration is from subscription to end, its thread the one that ended it.
 */
@Name("org.reactorvfio.Operation")
@Label("Device Operation")
@Description(
    "An operation of a device, from its subscription to its end, with the time that it waited for its turn")
@Category({"reactor-vfio"})
@Threshold("20 ms")
@StackTrace(false)
final class OperationEvent extends Event {
  private static final OperationEvent PROBE = new OperationEvent();

  @Label("Device")
  @Nullable String device;

  @Label("Operation")
  @Nullable String operation;

  @Label("Outcome")
  @Description("success, cancelled, or the simple name of the exception's class")
  @Nullable String outcome;

  @Label("Errno")
  @Description("The kernel's error number, 0 where it gave none")
  int errno;

  /** Records a call if a recording wants such events when the call is subscribed to. */
  static <T> Mono<T> around(String device, Operation operation, Mono<T> call) {
    return Mono.defer(() -> PROBE.isEnabled() ? recorded(device, operation, call) : call);
  }

  private static <T> Mono<T> recorded(String device, Operation operation, Mono<T> call) {
    OperationEvent event = new OperationEvent();
    event.device = device;
    event.operation = operation.method();
    event.begin();
    return call.doOnSuccess(value -> event.end("success", 0))
        .doOnError(e -> event.end(
            e.getClass().getSimpleName(), e instanceof VfioException failure ? failure.errno() : 0))
        .doOnCancel(() -> event.end("cancelled", 0));
  }

  /** Only the first end counts: a value may be followed by a cancellation. */
  private synchronized void end(String how, int number) {
    if (outcome == null) {
      end();
      outcome = how;
      errno = number;
      commit();
    }
  }
}
