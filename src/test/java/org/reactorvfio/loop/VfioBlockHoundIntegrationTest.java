package org.reactorvfio.loop;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.Syscalls;
import reactor.blockhound.BlockingOperationError;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.test.StepVerifier;

/** The integration is found by the service loader: BlockHound is installed by its own launcher listener. */
class VfioBlockHoundIntegrationTest {
  private static final Duration LONG = Duration.ofSeconds(20);

  @Test
  void catchesASystemCallOnAParallelThread() {
    StepVerifier.create(
            Mono.fromCallable(() -> Syscalls.ioctl(-1, 0, 0)).subscribeOn(Schedulers.parallel()))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(BlockingOperationError.class)
            .hasMessageContaining("Syscalls.ioctl"))
        .verify(LONG);
  }

  @Test
  void letsSystemCallsBeOnAThreadThatMayBlock() {
    StepVerifier.create(Mono.fromCallable(() -> Syscalls.ioctl(-1, 0, 0))
            .subscribeOn(Schedulers.boundedElastic()))
        .expectNext(-Errno.EBADF)
        .expectComplete()
        .verify(LONG);
  }

  @Test
  void letsTheLoopWaitAndCatchesASubscriberThatBlocksIt() {
    EmulatedDevice device = EmulatedDevice.builder(1, 1).msix(1).build();
    AtomicReference<Throwable> caught = new AtomicReference<>();
    Mono<Void> work = Mono.usingWhen(
        Vfio.open(device),
        open -> open.config()
            .enableBusMaster()
            .then(open.interrupts().msix().enable(1))
            .then(Mono.fromRunnable(() -> device.raiseMsix(0)))
            .then(open.interrupts().msix().vector(0).next())
            .doOnNext(interrupt -> {
              try {
                Syscalls.ioctl(-1, 0, 0);
              } catch (BlockingOperationError e) {
                caught.set(e);
              }
            })
            .then(),
        VfioDevice::close);
    StepVerifier.create(work).expectComplete().verify(LONG);
    assertThat(caught.get()).isInstanceOf(BlockingOperationError.class);
  }
}
