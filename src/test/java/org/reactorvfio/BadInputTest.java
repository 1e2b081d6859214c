package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.RegisterHandler;
import org.reactorvfio.linux.TestEventFds;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.IoEventFd;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.MappedRegion;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.region.Doorbell;
import reactor.core.Exceptions;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/**
 * Sequences of calls with arguments that are often wrong, in any order, from several threads, and with the device closed or
 * unplugged in between: every call ends, every refusal is typed, and nothing is left behind. A seed gives the same calls again.
 */
class BadInputTest {
  private static final Duration LIMIT = Duration.ofSeconds(30);
  private static final int CALLS = 150;
  private static final long[] NASTY = {
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    63,
    64,
    255,
    256,
    4095,
    4096,
    4097,
    8192,
    65_536,
    -1,
    -2,
    -8,
    -4096,
    Integer.MAX_VALUE,
    Integer.MIN_VALUE,
    Integer.MAX_VALUE + 1L,
    Long.MAX_VALUE,
    Long.MIN_VALUE,
    0xfee0_0000L,
    0xfee0_1000L,
    0xffff_ffff_f000L,
    1L << 48,
    Long.MAX_VALUE - 4095
  };

  private static final class Numbers {
    private final Random random;

    Numbers(long seed) {
      random = new Random(seed);
    }

    long any() {
      return NASTY[random.nextInt(NASTY.length)];
    }

    int number() {
      return (int) any();
    }

    /** Mostly few, so that now and then something works. */
    int small() {
      return random.nextInt(4) == 0 ? number() : random.nextInt(6);
    }

    boolean chance(int of) {
      return random.nextInt(of) == 0;
    }

    int below(int bound) {
      return random.nextInt(bound);
    }
  }

  private static EmulatedDevice function(Numbers numbers) {
    EmulatedDevice.Builder builder = EmulatedDevice.builder(1, 2)
        .memoryBar(0, 8192)
        .registerBar(2, 16, device -> new RegisterHandler() {
          @Override
          public long read(long offset, int width) {
            return offset;
          }

          @Override
          public void write(long offset, int width, long value) {
            // Nothing keeps it.
          }
        })
        .intx()
        .msi(4)
        .msix(8)
        .availableVectors(6);
    if (numbers.chance(2)) {
      builder.pciExpress();
    }
    if (numbers.chance(2)) {
      builder.fixedMsix();
    }
    if (numbers.chance(2)) {
      builder.resettable(() -> {});
    }
    return builder.build();
  }

  static LongStream seeds() {
    return LongStream.rangeClosed(1, 60);
  }

  @ParameterizedTest
  @MethodSource("seeds")
  void everyCallEndsAndEveryRefusalIsTyped(long seed) {
    Numbers numbers = new Numbers(seed);
    EmulatedDevice function = function(numbers);
    VfioDevice device = Vfio.open(function).block(LIMIT);
    List<Mono<?>> calls = new ArrayList<>();
    for (int i = 0; i < CALLS; i++) {
      Mono<?> call = call(device, function, numbers);
      calls.add(numbers.chance(3) ? call.subscribeOn(Schedulers.parallel()) : call);
    }
    boolean closes = numbers.chance(2);
    Mono<Void> all = Flux.fromIterable(calls)
        .index()
        .flatMap(
            numbered -> {
              if (closes && numbered.getT1() == CALLS * 3 / 4) {
                return device.close().onErrorResume(BadInputTest::typed);
              }
              return numbered.getT2().onErrorResume(BadInputTest::typed).then();
            },
            1 + numbers.below(8))
        .then(Mono.defer(device::close))
        .onErrorResume(BadInputTest::typed)
        .then();
    StepVerifier.create(all).as("seed " + seed).expectComplete().verify(LIMIT);
    StepVerifier.create(device.onClose()).expectComplete().verify(LIMIT);
    assertThat(function.isOpen()).isFalse();
  }

  @Test
  void nothingIsLeftBehind() {
    seeds().limit(3).forEach(this::everyCallEndsAndEveryRefusalIsTyped);
    quiet();
    long eventfds = TestEventFds.open("[eventfd]");
    long epolls = TestEventFds.open("[eventpoll]");
    seeds().limit(20).forEach(this::everyCallEndsAndEveryRefusalIsTyped);
    quiet();
    assertThat(TestEventFds.open("[eventfd]")).isLessThanOrEqualTo(eventfds);
    assertThat(TestEventFds.open("[eventpoll]")).isLessThanOrEqualTo(epolls);
  }

  /** The loops end with their last source, a moment after the last device was closed. */
  private static void quiet() {
    StepVerifier.create(Mono.fromSupplier(() -> Thread.getAllStackTraces().keySet().stream()
                .noneMatch(thread -> thread.getName().equals("vfio-loop")
                    || thread.getName().equals("vfio-emulation")))
            .filter(ended -> ended)
            .repeatWhenEmpty(1000, rounds -> rounds.delayElements(Duration.ofMillis(10))))
        .expectNext(true)
        .expectComplete()
        .verify(LIMIT);
  }

  private static <T> Mono<T> typed(Throwable e) {
    Throwable failure = Exceptions.unwrap(e);
    boolean expected = failure instanceof VfioException
        || failure instanceof IllegalArgumentException
        || failure instanceof IndexOutOfBoundsException
        // What must be enabled or armed first, in Java's own term.
        || (failure instanceof IllegalStateException
            && String.valueOf(failure.getMessage()).matches(".* is not (enabled|armed) on .*"));
    return expected ? Mono.empty() : Mono.error(new AssertionError("untyped: " + failure, failure));
  }

  /** A call whose arguments may be refused at once, or when it is subscribed to. */
  private static Mono<?> deferred(Callable<Mono<?>> call) {
    return Mono.defer(() -> {
      try {
        return call.call();
      } catch (Exception e) {
        return Mono.error(e);
      }
    });
  }

  private static Mono<?> call(VfioDevice device, EmulatedDevice function, Numbers n) {
    VfioOperations table = device.operations();
    int a = n.small();
    int b = n.small();
    int c = n.number();
    long x = n.any();
    long y = n.any();
    boolean flag = n.chance(2);
    return switch (n.below(40)) {
      case 0 -> deferred(() -> table.regionInfo(c));
      case 1 -> deferred(() -> table.irqInfo(c));
      case 2 -> deferred(() -> table.read(a, x, ByteBuffer.allocate(64)));
      case 3 -> deferred(() -> table.write(a, x, ByteBuffer.allocate(64)));
      case 4 -> deferred(() -> table.map(a, x, y).doOnNext(mapped -> touch(mapped, x)));
      case 5 -> deferred(() -> table.setIrqs(IrqSet.of(a, IrqSet.Action.TRIGGER, b, c)));
      case 6 -> deferred(() -> table.setIrqs(IrqSet.where(a, IrqSet.Action.MASK, b, flag, !flag)));
      case 7 -> deferred(() -> table.setIrqs(IrqSet.disable(c)));
      case 8 -> deferred(() -> table.unmapDma(x, y));
      case 9 -> deferred(() -> table.feature(FeatureRequest.get(c, a)));
      case 10 -> deferred(() -> table.feature(FeatureRequest.set(a, ByteBuffer.allocate(b & 63))));
      case 11 -> deferred(() -> table.ioEventFd(new IoEventFd(a, x, b, y, c)));
      case 12 -> deferred(() -> table.dirtyPages(x, y));
      case 13 -> deferred(table::unmapAllDma);
      case 14 -> deferred(() -> device.bar(a).read32(x));
      case 15 -> deferred(() -> device.bar(a).write64(x, y));
      case 16 -> deferred(() -> device.region(c).map(x, y));
      case 17 -> deferred(() -> device.bar(a).doorbell(x, b, y).flatMap(Doorbell::close));
      case 18 -> deferred(() -> device.config().read32(c));
      case 19 -> deferred(() -> device.config().write16(c, (short) x));
      case 20 -> deferred(() -> device.dma().allocate(x));
      case 21 -> deferred(() -> device.dma().allocate(4096).flatMap(DmaBuffer::free));
      case 22 -> deferred(() -> device.dma().pool(c, a));
      case 23 ->
        deferred(() -> device
            .dma()
            .map(DmaMapping.readWrite(ByteBuffer.allocateDirect(8192).alignedSlice(4096), x)));
      case 24 -> deferred(() -> device.interrupts().msix().enable(a));
      case 25 -> deferred(() -> device.interrupts().msix().enable(c));
      case 26 -> deferred(() -> device.interrupts().msix().arm(a));
      case 27 -> deferred(() -> device.interrupts().msix().rearm(a));
      case 28 -> deferred(() -> device.interrupts().msix().trigger(a, b));
      case 29 -> deferred(() -> device.interrupts().msix().disable());
      case 30 -> deferred(() -> device.interrupts().msi().enable(a));
      case 31 -> deferred(() -> device.interrupts().msi().disarm(c));
      case 32 -> deferred(() -> device.interrupts().intx().enable());
      case 33 -> deferred(() -> device.interrupts().intx().unmask());
      case 34 ->
        deferred(() ->
            device.interrupts().msix().vector(a).take(Duration.ofMillis(1)).then());
      case 35 ->
        deferred(() ->
            device.interrupts().msi().autoEnabled(a).take(Duration.ofMillis(1)).then());
      case 36 -> deferred(device::reset);
      case 37 -> deferred(device::hotReset);
      case 38 ->
        deferred(() -> flag ? device.lowPower().enter() : device.setVfToken(new UUID(x, y)));
      default ->
        deferred(() -> Mono.fromRunnable(() -> {
          function.assertIntx(flag);
          function.raiseMsix(a & 7);
          function.writeMemory(x, ByteBuffer.allocate(a & 63));
        }));
    };
  }

  private static void touch(MappedRegion mapped, long at) {
    try (mapped) {
      mapped.get32(at);
    }
  }
}
