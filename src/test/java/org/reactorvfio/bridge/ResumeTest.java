package org.reactorvfio.bridge;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.time.Duration;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.OutcomeUnknownException;
import org.reactorvfio.SessionLostException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.irq.Vectors;
import reactor.core.Disposable;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/** Connections that break at random moments, while signals stream and operations run. */
class ResumeTest {
  private static final Duration LIMIT = Duration.ofSeconds(120);
  private static final int VECTORS = 4;

  /** How often the connection is cut; -Dbridge.cuts=1000 is a long form. */
  private static final int CUTS = Integer.getInteger("bridge.cuts", 110);

  private final EmulatedDevice hardware = EmulatedDevice.builder(0x1234, 0x5678)
      .name("nic")
      .memoryBar(0, 4096)
      .msix(VECTORS)
      .build();
  private VfioDevice owned;
  private VfioBridge bridge;
  private CuttingProxy proxy;

  @BeforeEach
  void open() throws IOException {
    owned = Vfio.open(hardware).block(LIMIT);
    owned.config().enableBusMaster().block(LIMIT);
    bridge = VfioBridge.builder()
        .export(owned, Permission.values())
        .limits(BridgeLimits.defaults().withTimes(Duration.ofSeconds(60), Duration.ofSeconds(60)))
        .start()
        .block(LIMIT);
    proxy = new CuttingProxy(bridge.uri().getPort());
  }

  @AfterEach
  void close() throws IOException {
    proxy.close();
    bridge.close().then(owned.close()).block(LIMIT);
  }

  private VfioDevice remote() {
    return Vfio.open(Vfio.remote(proxy.uri()).withToken(bridge.token()).device("nic"))
        .block(LIMIT);
  }

  /** With the vectors being the owner's, shared, or the remote user's own. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void countsAreExactOverManyCuts(boolean shared) throws InterruptedException {
    if (shared) {
      owned.interrupts().msix().enable(VECTORS).block(LIMIT);
    }
    int wanted = shared ? CUTS : CUTS / 4;
    VfioDevice remote = remote();
    Vectors msix = remote.interrupts().msix();
    msix.enable(VECTORS).block(LIMIT);
    AtomicLongArray received = new AtomicLongArray(VECTORS);
    AtomicReference<Throwable> failure = new AtomicReference<>();
    Disposable counting =
        msix.all().subscribe(i -> received.addAndGet(i.vector(), i.count()), failure::set);

    // Reads and writes go on beside: each succeeds, or fails saying that it may have happened.
    AtomicInteger done = new AtomicInteger();
    AtomicInteger unknown = new AtomicInteger();
    AtomicInteger other = new AtomicInteger();
    Disposable operating = Mono.defer(() -> remote
            .bar(0)
            .write32(0, ThreadLocalRandom.current().nextInt())
            .then(remote.bar(0).read32(0)))
        .doOnNext(value -> done.incrementAndGet())
        .onErrorResume(e -> {
          (e instanceof OutcomeUnknownException ? unknown : other).incrementAndGet();
          return Mono.empty();
        })
        .repeat()
        .subscribe();

    Random random = new Random(42);
    long[] raised = new long[VECTORS];
    AtomicInteger cuts = new AtomicInteger();
    CountDownLatch over = new CountDownLatch(1);
    Disposable cutting = Flux.interval(Duration.ofMillis(5))
        .onBackpressureDrop()
        .publishOn(Schedulers.newSingle("cutter"))
        .filter(tick -> proxy.connected() && random.nextInt(4) == 0)
        .take(wanted)
        .doOnNext(tick -> {
          proxy.cut();
          cuts.incrementAndGet();
        })
        .doOnComplete(over::countDown)
        .subscribe();
    while (over.getCount() > 0 && failure.get() == null) {
      int vector = ThreadLocalRandom.current().nextInt(VECTORS);
      hardware.raiseMsix(vector);
      raised[vector]++;
      if (raised[vector] % 16 == 0) {
        LockSupport.parkNanos(500_000);
      }
    }
    cutting.dispose();
    operating.dispose();

    for (int vector = 0; vector < VECTORS; vector++) {
      int v = vector;
      Flux.interval(Duration.ofMillis(10))
          .onBackpressureDrop()
          .filter(tick -> received.get(v) >= raised[v] || failure.get() != null)
          .blockFirst(LIMIT);
    }
    assertThat(failure).hasValue(null);
    for (int vector = 0; vector < VECTORS; vector++) {
      assertThat(received.get(vector)).as("vector %d", vector).isEqualTo(raised[vector]);
    }
    assertThat(cuts).hasValue(wanted);
    assertThat(done.get()).isPositive();
    assertThat(other).hasValue(0);
    counting.dispose();
    remote.close().block(LIMIT);
  }

  /** What the server has no memory of is said exactly, and nothing of it is made up. */
  @Test
  void aForgottenSessionTellsWhatIsUnknown() throws IOException {
    owned.interrupts().msix().enable(VECTORS).block(LIMIT);
    bridge.close().block(LIMIT);
    bridge = VfioBridge.builder()
        .export(owned, Permission.values())
        .limits(BridgeLimits.defaults().withTimes(Duration.ofSeconds(60), Duration.ZERO))
        .start()
        .block(LIMIT);
    proxy.close();
    proxy = new CuttingProxy(bridge.uri().getPort());
    VfioDevice remote = remote();
    remote.interrupts().msix().enable(VECTORS).block(LIMIT);
    for (int i = 0; i < 7; i++) {
      hardware.raiseMsix(2);
    }
    long sum = 0;
    while (sum < 7) {
      sum += remote.interrupts().msix().vector(2).blockFirst(LIMIT).count();
    }
    Mono<Throwable> end = remote
        .interrupts()
        .msix()
        .vector(1)
        .then(Mono.<Throwable>empty())
        .onErrorResume(Mono::just)
        .cache();
    end.subscribe();
    proxy.cut();
    assertThat(end.block(LIMIT)).isInstanceOfSatisfying(SessionLostException.class, lost -> {
      assertThat(lost.totals())
          .containsExactlyInAnyOrder(
              new SessionLostException.Total(2, 0, 0),
              new SessionLostException.Total(2, 1, 0),
              new SessionLostException.Total(2, 2, 7),
              new SessionLostException.Total(2, 3, 0),
              // The request to give the device back, which every opener listens to.
              new SessionLostException.Total(4, 0, 0));
      assertThat(lost).hasMessageContaining("nic");
    });
    remote.close().onErrorComplete().block(LIMIT);
  }
}
