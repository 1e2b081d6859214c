package org.reactorvfio;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactivestreams.Subscription;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.operations.VfioTransport;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.Disposable;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.publisher.MonoSink;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;
import reactor.test.publisher.TestPublisher;

/** How operators get around a device, and how they leave it. */
class OperatorsTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private record Inner(String text) {}

  private record Outer(String text) {}

  private final EmulatedDevice function = EmulatedDevice.builder(0x1234, 0x5678)
      .memoryBar(0, 4096)
      .subsystem(0xaaaa, 0xbbbb)
      .classCode(0x020000, 3)
      .msix(4)
      .build();

  private final List<String> diary = FakeOperator.diary();
  private final FakeOperator<Inner> inner =
      FakeOperator.of("inner", Inner.class, diary, new Inner("i"));
  private final FakeOperator<Outer> outer =
      FakeOperator.of("outer", Outer.class, diary, new Outer("o"));
  private final VfioTransport transport =
      () -> function.open().map(core -> FakeOperator.noting("core", diary, core));

  private static final VfioException FAILURE =
      new VfioException("probe", "it", 5, "the test says so", "ask the test");

  private static VfioOptions with(VendorOperator<?>... operators) {
    return VfioOptions.defaults().withOperators(operators);
  }

  private VfioDevice open(VendorOperator<?>... operators) {
    return Vfio.open(transport, with(operators)).block(LIMIT);
  }

  private static void run(Mono<Void> operation) {
    StepVerifier.create(operation).expectComplete().verify(LIMIT);
  }

  private static void eventually(BooleanSupplier condition, String what) {
    long end = System.nanoTime() + LIMIT.toNanos();
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("within %s: %s", LIMIT, what).isLessThan(end);
      Thread.yield();
    }
  }

  private List<String> fromFirstRelease() {
    List<String> all = List.copyOf(diary);
    for (int i = 0; i < all.size(); i++) {
      if (all.get(i).contains("releases")) {
        return all.subList(i, all.size());
      }
    }
    return List.of();
  }

  @Test
  void areComposedInOrderFromTheCoreOutwards() {
    VfioDevice device = open(inner, outer);
    assertThat(diary)
        .containsSubsequence("inner probes", "inner composes", "outer probes", "outer composes");
    diary.clear();
    StepVerifier.create(device.reset()).expectError(NotSupportedException.class).verify(LIMIT);
    assertThat(diary).containsExactly("outer RESET", "inner RESET", "core RESET");
    run(device.close());
  }

  @Test
  void anOperatorProbesWhatTheOneBelowComposed() {
    AtomicReference<VfioOperations> seen = new AtomicReference<>();
    VfioDevice device = open(inner, new FakeOperator<>("outer", Outer.class, diary, (core, id) -> {
      seen.set(core);
      return core.reset().onErrorComplete().thenReturn(new Outer("o"));
    }));
    assertThat(diary).containsSubsequence("outer probes", "inner RESET", "core RESET");
    assertThat(device.as(Outer.class).text()).isEqualTo("o");
    assertThat(device.operations()).isNotSameAs(seen.get());
    run(device.close());
  }

  @Test
  void areToldWhatTheDeviceSaysItIs() {
    AtomicReference<DeviceIdentity> seen = new AtomicReference<>();
    FakeOperator<Inner> curious = new FakeOperator<>("curious", Inner.class, diary, (core, id) -> {
      seen.set(id);
      return Mono.empty();
    });
    run(open(curious).close());
    assertThat(seen).hasValue(new DeviceIdentity(0x1234, 0x5678, 0xaaaa, 0xbbbb, 0x020000));
    assertThat(seen.get()).hasToString("1234:5678 (subsystem aaaa:bbbb, class 020000)");
  }

  @Test
  void areToldThatADeviceIsNotPci() {
    AtomicReference<DeviceIdentity> seen = new AtomicReference<>();
    FakeOperator<Inner> curious = new FakeOperator<>("curious", Inner.class, diary, (core, id) -> {
      seen.set(id);
      return Mono.just(new Inner("any"));
    });
    VfioTransport other = () -> function.open().map(core -> new DelegatingOperations(core) {
      @Override
      public Mono<DeviceInfo> deviceInfo() {
        return super.deviceInfo().map(info -> new DeviceInfo(0, 1, info.irqCount(), List.of()));
      }
    });
    VfioDevice device = Vfio.open(other, with(curious)).block(LIMIT);
    assertThat(seen).hasValue(DeviceIdentity.NONE);
    assertThat(device.as(Inner.class).text()).isEqualTo("any");
    device.close().onErrorComplete().block(LIMIT);
    assertThat(function.isOpen()).isFalse();
  }

  @Test
  void theirStatesAreThereByType() {
    VfioDevice device = open(inner, outer);
    assertThat(device.as(Inner.class).text()).isEqualTo("i");
    assertThat(device.as(Outer.class).text()).isEqualTo("o");
    assertThat(device.has(Inner.class)).isTrue();
    assertThat(device.has(String.class)).isFalse();
    assertThatThrownBy(() -> device.as(String.class))
        .isInstanceOf(OperatorAbsentException.class)
        .hasMessageContainingAll("as(String)", "inner, outer", "withOperators");
    run(device.close());
    assertThatThrownBy(() -> device.as(Inner.class)).isInstanceOf(DeviceClosedException.class);
  }

  @Test
  void aDeviceWithoutOperatorsSaysSo() {
    VfioDevice device = open();
    assertThat(device.has(Inner.class)).isFalse();
    assertThatThrownBy(() -> device.as(Inner.class))
        .isInstanceOf(NotSupportedException.class)
        .hasMessageContainingAll("no operators", "withOperators");
    run(device.close());
  }

  @Test
  void anOperatorThatTurnsADeviceDownIsLeftOutAndSaysWhy() {
    FakeOperator<Inner> other =
        new FakeOperator<>("other", Inner.class, diary, (core, id) -> Mono.empty());
    FakeOperator<String> lacking = new FakeOperator<>(
        "lacking",
        String.class,
        diary,
        (core, id) -> Mono.error(
            new NotSupportedException("probe", "it", 0, "no firmware", "load its firmware")));
    VfioDevice device = open(other, lacking, outer);
    assertThat(device.as(Outer.class).text()).isEqualTo("o");
    assertThatThrownBy(() -> device.as(Inner.class))
        .isInstanceOf(OperatorAbsentException.class)
        .hasMessageContainingAll("other", "not what it is for");
    assertThatThrownBy(() -> device.as(String.class))
        .isInstanceOf(OperatorAbsentException.class)
        .hasMessageContainingAll("outer", "lacking", "no firmware", "load its firmware")
        .hasMessageNotContaining("other");
    assertThat(diary).doesNotContain("other composes", "lacking composes");
    run(device.close());
    assertThat(diary).doesNotContain("other releases", "lacking releases");
  }

  @Test
  void twoOperatorsCannotHaveTheSameState() {
    FakeOperator<Inner> same = FakeOperator.of("same", Inner.class, diary, new Inner("another"));
    assertThatIllegalArgumentException()
        .isThrownBy(() -> with(inner, outer, same))
        .withMessageContainingAll("same", Inner.class.getName());
  }

  @Test
  void operatorsWithNothingToShowCanBeThereSeveralTimes() {
    FakeOperator<Object> quiet = FakeOperator.of("quiet", Object.class, diary, new Object());
    VfioDevice device = open(quiet, inner, quiet);
    assertThat(diary).filteredOn("quiet composes"::equals).hasSize(2);
    assertThat(device.has(Object.class)).isFalse();
    assertThatThrownBy(() -> device.as(Object.class)).isInstanceOf(OperatorAbsentException.class);
    run(device.close());
    assertThat(diary).filteredOn(line -> line.startsWith("quiet releases")).hasSize(2);
  }

  @Test
  void areReleasedFromTheOutermostWhenAllElseIsQuietAndBeforeTheDeviceCloses() {
    VfioDevice device = open(inner, outer);
    run(device.interrupts().msix().enable(2));
    DmaBuffer buffer = device.dma().allocate(4096).block(LIMIT);
    assertThat(buffer.iova()).isNotNegative();
    diary.clear();
    run(device.close());
    run(device.close());
    assertThat(diary).contains("core SET_IRQS", "core UNMAP_DMA");
    assertThat(fromFirstRelease())
        .containsExactly(
            "outer releases Outer[text=o]",
            "inner releases Inner[text=i]",
            "outer CLOSE",
            "inner CLOSE",
            "core CLOSE");
  }

  @Test
  void areReleasedOnceHoweverManyClose() {
    for (int i = 0; i < 50; i++) {
      diary.clear();
      VfioDevice device = open(inner, outer);
      run(Flux.range(0, 8)
          .flatMap(n -> device.close().subscribeOn(Schedulers.parallel()))
          .then());
      assertThat(diary).filteredOn(line -> line.contains("releases")).hasSize(2);
    }
  }

  @Test
  void whatFailsInReleasingIsReportedAndClosingGoesOn() {
    outer.release = Mono.error(FAILURE);
    VfioDevice device = open(inner, outer);
    StepVerifier.create(device.close())
        .expectErrorSatisfies(e -> assertThat(e).isSameAs(FAILURE))
        .verify(LIMIT);
    assertThat(fromFirstRelease())
        .containsExactly(
            "outer releases Outer[text=o]",
            "inner releases Inner[text=i]",
            "outer CLOSE",
            "inner CLOSE",
            "core CLOSE");
    assertThat(function.isOpen()).isFalse();
    run(device.onClose());
  }

  @Test
  void areReleasedWhenTheKernelAsksForTheDevice() {
    VfioDevice device = open(inner, outer);
    eventually(function::requestRelease, "REQ is armed");
    run(device.onClose());
    assertThat(fromFirstRelease())
        .startsWith("outer releases Outer[text=o]", "inner releases Inner[text=i]")
        .endsWith("core CLOSE");
  }

  @Test
  void areReleasedWhenTheDeviceIsLost() {
    // What it wants to do to the device on the way out, it cannot.
    outer.release = Mono.error(
        new DeviceLostException("stop", "it", 19, "the device has gone", "open it again"));
    VfioDevice device =
        Vfio.open(transport, with(inner, outer).withReleaseOnRequest(false)).block(LIMIT);
    function.unplug();
    StepVerifier.create(device.bar(0).read32(0))
        .expectError(DeviceLostException.class)
        .verify(LIMIT);
    run(device.close());
    assertThat(fromFirstRelease())
        .startsWith("outer releases Outer[text=o]", "inner releases Inner[text=i]");
    assertThat(diary).filteredOn(line -> line.contains("releases")).hasSize(2);
    assertThat(function.isOpen()).isFalse();
  }

  private void assertGivenBack(Throwable failure, VendorOperator<?>... operators) {
    StepVerifier.create(Vfio.open(transport, with(operators)))
        .expectErrorSatisfies(e -> assertThat(e).isSameAs(failure))
        .verify(LIMIT);
    assertThat(function.isOpen()).isFalse();
    assertThat(diary.get(diary.size() - 1)).isEqualTo("core CLOSE");
    assertThat(diary).filteredOn("core CLOSE"::equals).hasSize(1);
  }

  @Test
  void aProbeThatFailsGivesBackWhatWasBuiltBeforeIt() {
    FakeOperator<String> failing =
        new FakeOperator<>("failing", String.class, diary, (core, id) -> Mono.error(FAILURE));
    assertGivenBack(FAILURE, inner, outer, failing);
    assertThat(fromFirstRelease())
        .containsExactly(
            "outer releases Outer[text=o]",
            "inner releases Inner[text=i]",
            "outer CLOSE",
            "inner CLOSE",
            "core CLOSE");
  }

  @Test
  void aProbeThatThrowsGivesBackWhatWasBuiltBeforeIt() {
    FakeOperator<String> failing =
        new FakeOperator<>("failing", String.class, diary, (core, id) -> {
          throw FAILURE;
        });
    assertGivenBack(FAILURE, inner, failing);
    assertThat(fromFirstRelease()).startsWith("inner releases Inner[text=i]");
  }

  /** To turn a device down after building its state is too late: that is an error like any other. */
  @Test
  void anOperatorThatCannotComposeGivesBackItsStateToo() {
    for (RuntimeException failure : List.of(
        FAILURE, new NotSupportedException("compose", "it", 0, "the test says so", "ask it"))) {
      diary.clear();
      outer.composing = failure;
      assertGivenBack(failure, inner, outer);
      assertThat(fromFirstRelease())
          .containsExactly(
              "outer releases Outer[text=o]",
              "inner releases Inner[text=i]",
              "inner CLOSE",
              "core CLOSE");
    }
  }

  @Test
  void whatFailsInReleasingAfterAFailureIsSuppressed() {
    VfioException first = new VfioException("probe", "it", 5, "the test says so", "ask the test");
    inner.release = Mono.error(FAILURE);
    assertGivenBack(
        first,
        inner,
        new FakeOperator<>("failing", String.class, diary, (core, id) -> Mono.error(first)));
    assertThat(first.getSuppressed()).containsExactly(FAILURE);
  }

  /** An operator whose composition breaks what the front door needs. */
  private FakeOperator<Object> breaking(String operation) {
    return new FakeOperator<>(
        "breaking", Object.class, diary, (core, id) -> Mono.just(new Object())) {
      @Override
      public VfioOperations compose(VfioOperations core, Object state) {
        return new DelegatingOperations(core) {
          @Override
          public Mono<DeviceInfo> deviceInfo() {
            return operation.equals("deviceInfo") ? Mono.error(FAILURE) : super.deviceInfo();
          }

          @Override
          public Mono<IrqInfo> irqInfo(int index) {
            return operation.equals("irqInfo") ? Mono.error(FAILURE) : super.irqInfo(index);
          }

          @Override
          public Mono<RegionInfo> regionInfo(int index) {
            return operation.equals("regionInfo") ? Mono.error(FAILURE) : super.regionInfo(index);
          }
        };
      }
    };
  }

  @ParameterizedTest
  @ValueSource(strings = {"deviceInfo", "regionInfo", "irqInfo"})
  void aFrontDoorThatCannotBeBuiltGivesBackTheOperators(String operation) {
    assertGivenBack(FAILURE, inner, breaking(operation));
    assertThat(fromFirstRelease()).hasSize(4).first().asString().startsWith("breaking releases");
  }

  @Test
  void anOpeningThatIsCancelledInAProbeGivesBackWhatWasBuiltBeforeIt() {
    TestPublisher<String> probing = TestPublisher.create();
    StepVerifier.create(Vfio.open(
            transport,
            with(
                inner,
                new FakeOperator<>("probing", String.class, diary, (core, id) -> probing.mono()))))
        .then(() -> eventually(probing::wasSubscribed, "the probe runs"))
        .thenCancel()
        .verify(LIMIT);
    probing.assertCancelled();
    eventually(() -> diary.contains("core CLOSE"), "the device is given back");
    assertThat(fromFirstRelease())
        .containsExactly("inner releases Inner[text=i]", "inner CLOSE", "core CLOSE");
    eventually(() -> !function.isOpen(), "the device is closed");
  }

  @Test
  void aStateThatComesAfterTheCancellationIsReleased() {
    AtomicReference<MonoSink<String>> late = new AtomicReference<>();
    // Does not notice the cancellation.
    FakeOperator<String> deaf = new FakeOperator<>(
        "deaf",
        String.class,
        diary,
        (core, id) -> Mono.fromDirect(subscriber -> {
          Mono.<String>create(late::set).subscribe(new BaseSubscriber<>() {
            @Override
            protected void hookOnSubscribe(Subscription subscription) {
              subscriber.onSubscribe(new Subscription() {
                @Override
                public void request(long n) {
                  subscription.request(n);
                }

                @Override
                public void cancel() {}
              });
            }

            @Override
            protected void hookOnNext(String value) {
              subscriber.onNext(value);
            }
          });
        }));
    Disposable opening = Vfio.open(transport, with(inner, deaf)).subscribe();
    eventually(() -> late.get() != null, "the probe runs");
    opening.dispose();
    eventually(() -> diary.contains("core CLOSE"), "the device is given back");
    late.get().success("late");
    eventually(() -> diary.contains("deaf releases late"), "the late state is released");
    assertThat(diary).doesNotContain("deaf composes");
  }

  @Test
  void aCancellationAfterTheDeviceWasGivenAwayChangesNothing() {
    VfioDevice first =
        Flux.from(Vfio.open(transport, with(inner))).take(1).next().block(LIMIT);
    assertThat(first.bar(0).read32(0).block(LIMIT)).isZero();
    run(first.close());

    AtomicReference<VfioDevice> second = new AtomicReference<>();
    Disposable using = Vfio.open(transport, with(inner))
        .doOnNext(second::set)
        .flatMap(device -> Mono.never())
        .subscribe();
    eventually(() -> second.get() != null, "the device is open");
    // The opening has told that it is complete before it takes the next call.
    second.get().bar(0).read32(0).block(LIMIT);
    using.dispose();
    assertThat(second.get().bar(0).read32(0).block(LIMIT)).isZero();
    run(second.get().close());
  }

  @Test
  void aDeviceCanBeOpenedWithTheSameOperatorsAgain() {
    VfioOptions options = with(inner, outer);
    for (int i = 0; i < 3; i++) {
      diary.clear();
      VfioDevice device = Vfio.open(transport, options).block(LIMIT);
      assertThat(device.bar(0).read(0, ByteBuffer.allocate(4)).block(LIMIT)).isEqualTo(4);
      run(device.close());
      assertThat(diary).filteredOn(line -> line.contains("releases")).hasSize(2);
    }
  }
}
