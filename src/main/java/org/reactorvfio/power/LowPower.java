package org.reactorvfio.power;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.loop.EventFdWatch;
import org.reactorvfio.loop.EventLoop;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.VfioOperations;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;

/**
 * A device's sleep (runtime power management, down to D3cold where the platform can). While it sleeps, mapped BARs cannot be
 * used: an access fails with {@link org.reactorvfio.RegionUnavailableException}. Every other operation wakes the device for as long as it
 * takes.
 */
public final class LowPower {
  private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

  /** Watches the eventfds of all sleeping devices; it has a thread only while there are some. */
  private static final EventLoop LOOP = new EventLoop("vfio-wakeup", 0);

  private final VfioOperations operations;
  private final Mono<Void> closed;

  /** Ends the wait for a wakeup that will not come: the kernel forgets its eventfd when the sleep ends from here. */
  private volatile Sinks.Empty<Void> sleep = Sinks.empty();

  private LowPower(VfioOperations operations, Mono<Void> closed) {
    this.operations = operations;
    this.closed = closed;
  }

  /**
   * Describes a device's sleep.
   *
   * @param operations the device's operations
   * @param closed ends when the device is closed
   * @return the sleep
   */
  public static LowPower over(VfioOperations operations, Mono<Void> closed) {
    return new LowPower(operations, closed);
  }

  /**
   * Lets the device sleep. After a wakeup by the host it falls asleep again.
   *
   * @return ends when the device may sleep; fails if it may already. {@link
   *     org.reactorvfio.NotSupportedException} if it cannot
   */
  public Mono<Void> enter() {
    return feature(Features.LOW_POWER_ENTRY, NOTHING).onErrorMap(this::explained);
  }

  /**
   * Ends the sleep. Does nothing if the device is not asleep.
   *
   * @return ends when the device is awake
   */
  public Mono<Void> exit() {
    return feature(Features.LOW_POWER_EXIT, NOTHING).then(Mono.fromRunnable(this::ended));
  }

  private synchronized void ended() {
    Sinks.Empty<Void> former = sleep;
    sleep = Sinks.empty();
    former.tryEmitEmpty();
  }

  /**
   * Lets the device sleep until something on the host's side wakes it, such as the device itself (PME); it then stays awake. A
   * cancellation wakes it.
   *
   * @return ends when the device was woken, by the host or by {@link #exit()}; fails with {@link DeviceClosedException} when
   *     it is closed, and if it may sleep already
   */
  public Mono<Void> sleepUntilWoken() {
    return Mono.usingWhen(
        Mono.fromCallable(this::prepare),
        sleeper -> feature(Features.LOW_POWER_ENTRY_WITH_WAKEUP, sleeper.request())
            .onErrorMap(this::explained)
            .then(Mono.firstWithSignal(
                sleeper.woken.asMono(),
                sleeper.ended.asMono(),
                closed.then(Mono.error(this::closed)))),
        sleeper -> Mono.fromRunnable(sleeper.watch::end),
        (sleeper, e) -> Mono.fromRunnable(sleeper.watch::end),
        // Whether the device was let sleep already or not.
        sleeper -> exit().onErrorComplete().then(Mono.fromRunnable(sleeper.watch::end)));
  }

  private record Sleeper(
      EventFd eventFd, EventFdWatch watch, Sinks.Empty<Void> woken, Sinks.Empty<Void> ended) {
    ByteBuffer request() {
      return ByteBuffer.allocate(8).order(ByteOrder.nativeOrder()).putInt(0, eventFd.fd());
    }
  }

  private Sleeper prepare() {
    Sinks.Empty<Void> woken = Sinks.empty();
    try {
      EventFd eventFd = EventFd.create();
      EventFdWatch watch = EventFdWatch.start(LOOP, eventFd, (self, count) -> woken.tryEmitEmpty());
      return new Sleeper(eventFd, watch, woken, sleep);
    } catch (LinuxException e) {
      throw new DescriptorLimitException(
          e.call(),
          operations.name(),
          e.errno(),
          "no eventfd could be made",
          "raise RLIMIT_NOFILE (ulimit -n)",
          e);
    }
  }

  private Throwable explained(Throwable e) {
    return e instanceof VfioException failure && failure.errno() == Errno.EINVAL
        ? new VfioException(
            failure.operation(),
            operations.name(),
            failure.errno(),
            "the device is asleep, or may fall asleep, already",
            "end that first (exit)",
            e)
        : e;
  }

  private DeviceClosedException closed() {
    return new DeviceClosedException(
        "low power", operations.name(), 0, "the device was closed", "open it again");
  }

  private Mono<Void> feature(int feature, ByteBuffer data) {
    return operations.feature(FeatureRequest.set(feature, data)).then();
  }
}
