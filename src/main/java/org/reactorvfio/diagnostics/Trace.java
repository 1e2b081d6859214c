package org.reactorvfio.diagnostics;

import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.operations.Operation;

/**
 * One operation of a device that has ended.
 *
 * @param device the device's name
 * @param operation which operation
 * @param arguments its arguments; buffers are those of the caller
 * @param duration from its subscription to its end, with the time that it waited for its turn
 * @param end how it ended
 * @param value what it gave, if it did and gave something
 * @param failure why it failed, if it did
 */
public record Trace(
    String device,
    Operation operation,
    List<Object> arguments,
    Duration duration,
    End end,
    Optional<Object> value,
    Optional<Throwable> failure) {
  /** How an operation ended. */
  public enum End {
    /** It was done. */
    DONE,
    /** It failed. */
    FAILED,
    /** Nobody wanted it any more. */
    CANCELLED
  }

  static Trace of(
      String device,
      Operation operation,
      Object[] arguments,
      long nanos,
      End end,
      @Nullable Object value,
      @Nullable Throwable failure) {
    return new Trace(
        device,
        operation,
        List.of(arguments),
        Duration.ofNanos(nanos),
        end,
        Optional.ofNullable(value),
        Optional.ofNullable(failure));
  }

  @Override
  public String toString() {
    String call = arguments.stream()
        .map(String::valueOf)
        .collect(Collectors.joining(", ", operation.method() + "(", ")"));
    String outcome = value
        .map(v -> ", gave " + v)
        .or(() -> failure.map(e -> ": " + e.getMessage()))
        .orElse("");
    return String.format(
        "%s: %s %s after %.1f us%s",
        device, call, end.name().toLowerCase(Locale.ROOT), duration.toNanos() / 1e3, outcome);
  }
}
