package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.reactorvfio.MigrationDataException;
import org.reactorvfio.MigrationEndedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Syscalls;
import reactor.test.StepVerifier;

/**
 * A stream whose device has nothing to deliver yet, which no device of the lab ever is. An eventfd stands for it: it reads 8 bytes when it
 * was signalled, and is not ready before.
 */
class KernelMigrationDataTest {
  private static final Duration LIMIT = Duration.ofSeconds(10);

  private final AtomicInteger closed = new AtomicInteger();
  private EventFd signal;
  private KernelMigrationData data;

  @BeforeEach
  void open() throws LinuxException {
    signal = EventFd.create();
    data = new KernelMigrationData(
        "device", Fd.duplicate(signal.fd()), false, self -> closed.incrementAndGet());
  }

  @AfterEach
  void close() {
    data.close().block(LIMIT);
    signal.close();
  }

  @Test
  void waitsUntilTheDeviceDelivers() {
    ByteBuffer bytes = ByteBuffer.allocate(8).order(ByteOrder.nativeOrder());
    StepVerifier.create(data.read(bytes))
        .expectSubscription()
        .expectNoEvent(Duration.ofMillis(120))
        .then(signal::signal)
        .expectNext(8)
        .expectComplete()
        .verify(LIMIT);
    assertThat(bytes.position()).isEqualTo(8);
    assertThat(bytes.getLong(0)).isEqualTo(1);
  }

  @Test
  void readsIntoTheMiddleOfADirectBuffer() {
    signal.signal();
    ByteBuffer bytes =
        ByteBuffer.allocateDirect(20).order(ByteOrder.nativeOrder()).position(4);
    StepVerifier.create(data.read(bytes)).expectNext(8).expectComplete().verify(LIMIT);
    assertThat(bytes.position()).isEqualTo(12);
    assertThat(bytes.getLong(4)).isEqualTo(1);
  }

  @Test
  void closingEndsAWait() {
    StepVerifier.create(data.read(ByteBuffer.allocate(8)))
        .expectSubscription()
        .expectNoEvent(Duration.ofMillis(60))
        .then(() -> data.close().subscribe())
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(MigrationEndedException.class)
            .hasMessageContaining("the stream was closed"))
        .verify(LIMIT);
    data.close().block(LIMIT);
    data.close().block(LIMIT);
    assertThat(closed.get()).isPositive();
    StepVerifier.create(data.read(ByteBuffer.allocate(8)))
        .expectError(MigrationEndedException.class)
        .verify(LIMIT);
  }

  @Test
  void writesAllOfABuffer() {
    ByteBuffer bytes = ByteBuffer.allocate(8).order(ByteOrder.nativeOrder()).putLong(0, 5);
    StepVerifier.create(data.write(bytes)).expectNext(8).expectComplete().verify(LIMIT);
    assertThat(bytes.hasRemaining()).isFalse();
    StepVerifier.create(data.write(bytes)).expectNext(0).expectComplete().verify(LIMIT);
    ByteBuffer back = ByteBuffer.allocate(8).order(ByteOrder.nativeOrder());
    StepVerifier.create(data.read(back)).expectNext(8).expectComplete().verify(LIMIT);
    assertThat(back.getLong(0)).isEqualTo(5);
  }

  @Test
  void whatTheDeviceRefusesIsSaid() {
    // An eventfd refuses fewer than 8 bytes.
    StepVerifier.create(data.write(ByteBuffer.allocate(3)))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                MigrationDataException.class,
                refused -> assertThat(refused.errno()).isEqualTo(Errno.EINVAL))
            .hasMessageContaining("refuses the data"))
        .verify(LIMIT);
    StepVerifier.create(data.read(ByteBuffer.allocate(3)))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOf(MigrationDataException.class)
            .hasMessageContaining("cannot deliver"))
        .verify(LIMIT);
    StepVerifier.create(data.read(ByteBuffer.allocate(0)))
        .expectError(IllegalArgumentException.class)
        .verify(LIMIT);
    StepVerifier.create(data.precopyInfo())
        .expectError(NotSupportedException.class)
        .verify(LIMIT);
  }

  @Test
  void aStreamThatGoesTheOtherWayIsSaid() {
    KernelMigrationData readOnly = new KernelMigrationData(
        "device", Fd.adopt(Syscalls.open("/dev/null", Syscalls.O_RDONLY)), false, self -> {});
    StepVerifier.create(readOnly.write(ByteBuffer.allocate(1)))
        .expectErrorSatisfies(e -> assertThat(e)
            .isInstanceOfSatisfying(
                NotSupportedException.class,
                refused -> assertThat(refused.errno()).isEqualTo(Errno.EBADF)))
        .verify(LIMIT);
    StepVerifier.create(readOnly.read(ByteBuffer.allocate(1)))
        .expectNext(0)
        .expectComplete()
        .verify(LIMIT);
    readOnly.close().block(LIMIT);
  }
}
