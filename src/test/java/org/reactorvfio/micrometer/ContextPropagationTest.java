package org.reactorvfio.micrometer;

import static org.assertj.core.api.Assertions.assertThat;

import io.micrometer.context.ContextRegistry;
import java.time.Duration;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactivestreams.Subscription;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Interrupt;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.Operation;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Hooks;
import reactor.core.publisher.Mono;
import reactor.util.context.Context;

/** A subscriber's context, and the thread-locals that Reactor makes of it if asked to, on the threads that the library calls on. */
class ContextPropagationTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);
  private static final String KEY = "org.reactorvfio.test.request";
  private static final ThreadLocal<String> REQUEST = new ThreadLocal<>();

  private final EmulatedDevice hardware =
      EmulatedDevice.builder(0x1234, 0x5678).memoryBar(0, 4096).msix(2).build();
  private final Probe probe = new Probe();
  private VfioDevice device;

  /** An operator that writes down what its callbacks see: the context, and the thread-local. */
  private static final class Probe implements VendorOperator<Object> {
    final Queue<String> seen = new ConcurrentLinkedQueue<>();

    @Override
    public String name() {
      return "probe";
    }

    @Override
    public Class<Object> type() {
      return Object.class;
    }

    @Override
    public List<DeviceMatch> matches() {
      return List.of(DeviceMatch.any());
    }

    @Override
    public Mono<Object> probe(VfioOperations core, DeviceIdentity identity) {
      return Mono.just(this);
    }

    @Override
    public VfioOperations compose(VfioOperations core, Object state) {
      return new DelegatingOperations(core) {
        @Override
        protected <T> Mono<T> around(Operation operation, Mono<T> call, Object... arguments) {
          return Mono.deferContextual(context -> call.doOnSuccess(
              value -> seen.add(context.getOrDefault(KEY, "none") + " " + REQUEST.get())));
        }
      };
    }
  }

  @BeforeEach
  void open() {
    ContextRegistry.getInstance().registerThreadLocalAccessor(KEY, REQUEST);
    device = Vfio.open(
            hardware, VfioOptions.defaults().withReleaseOnRequest(false).withOperators(probe))
        .block(LIMIT);
    device.enableBusMaster().then(device.interrupts().msix().enable(2)).block(LIMIT);
    probe.seen.clear();
  }

  @AfterEach
  void close() {
    Hooks.disableAutomaticContextPropagation();
    device.close().block(LIMIT);
    REQUEST.remove();
    ContextRegistry.getInstance().removeThreadLocalAccessor(KEY);
  }

  private static Context request(String name) {
    return Context.of(KEY, name);
  }

  @Test
  void anOperationKeepsItsSubscribersContext() {
    device.bar(0).read32(0).contextWrite(request("one")).block(LIMIT);
    // A change of the interrupt set, which runs in a queue of its own.
    device.interrupts().msix().disable().contextWrite(request("two")).block(LIMIT);
    assertThat(probe.seen).containsExactly("one null", "two null");
  }

  @Test
  void threadLocalsFollowAnOperationToItsWorkerAndBack() {
    Hooks.enableAutomaticContextPropagation();
    String after = device
        .bar(0)
        .read32(0)
        .map(value -> Thread.currentThread().getName() + " " + REQUEST.get())
        .contextWrite(request("one"))
        .block(LIMIT);
    assertThat(after).endsWith(" one").doesNotStartWith(Thread.currentThread().getName());
    device.interrupts().msix().disable().contextWrite(request("two")).block(LIMIT);
    assertThat(probe.seen).containsExactly("one one", "two two");
    assertThat(REQUEST.get()).isNull();
  }

  /** One worker runs what waits, whoever subscribed: each must see its own. */
  @Test
  void operationsThatShareAWorkersTurnDoNotShareTheirThreadLocals() {
    Hooks.enableAutomaticContextPropagation();
    List<String> wrong = Flux.range(0, 500)
        .flatMap(
            i -> device
                .bar(0)
                .read32(0)
                .map(value -> "" + REQUEST.get())
                .filter(seen -> !seen.equals("r" + i))
                .contextWrite(request("r" + i)),
            100)
        .collectList()
        .block(LIMIT);
    assertThat(wrong).isEmpty();
    assertThat(probe.seen).hasSize(500).allSatisfy(line -> {
      String[] words = line.split(" ");
      assertThat(words[1]).isEqualTo(words[0]).startsWith("r");
    });
  }

  @Test
  void threadLocalsAreThereInOnNext() throws Exception {
    Hooks.enableAutomaticContextPropagation();
    List<String> seen = new CopyOnWriteArrayList<>();
    CountDownLatch all = new CountDownLatch(4);
    Reader one = new Reader("one", seen, all);
    Reader two = new Reader("two", seen, all);
    device.interrupts().msix().vector(0).subscribe(one);
    device.interrupts().msix().vector(0).map(interrupt -> interrupt).subscribe(two);
    device
        .interrupts()
        .msix()
        .vector(0)
        .doOnNext(interrupt -> {
          seen.add("lambda three " + REQUEST.get());
          all.countDown();
        })
        .contextWrite(request("three"))
        .subscribe();
    device
        .interrupts()
        .msix()
        .all()
        .subscribe(
            interrupt -> {
              seen.add("lambda four " + REQUEST.get());
              all.countDown();
            },
            e -> {},
            () -> {},
            request("four"));
    hardware.raiseMsix(0);
    assertThat(all.await(LIMIT.toSeconds(), TimeUnit.SECONDS)).isTrue();
    assertThat(seen)
        .containsExactlyInAnyOrder(
            "reader one one", "reader two two", "lambda three three", "lambda four four");
  }

  private static final class Reader extends BaseSubscriber<Interrupt> {
    private final String name;
    private final List<String> seen;
    private final CountDownLatch arrived;

    Reader(String name, List<String> seen, CountDownLatch arrived) {
      this.name = name;
      this.seen = seen;
      this.arrived = arrived;
    }

    @Override
    public Context currentContext() {
      return Context.of(KEY, name);
    }

    @Override
    protected void hookOnSubscribe(Subscription subscription) {
      requestUnbounded();
    }

    @Override
    protected void hookOnNext(Interrupt interrupt) {
      seen.add("reader " + name + " " + REQUEST.get());
      arrived.countDown();
    }
  }
}
