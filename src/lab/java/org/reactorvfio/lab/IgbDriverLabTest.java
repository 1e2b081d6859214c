package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.ByteBuffer;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.irq.Interrupt;

/** A driver's DMA and messages on the igb card: the kernel's vfio_pci_driver_test, with each message counted. */
@Tag("lab")
@Timeout(120)
class IgbDriverLabTest {
  private static final int SIZE = 4 * IgbCopier.CHUNK;

  private VfioDevice device;
  private IgbCopier igb;
  private DmaBuffer memory;
  private final AtomicLong messages = new AtomicLong();
  private CompletableFuture<Void> stream;

  private void open(Backend backend) {
    assumeTrue(System.getenv("VFIO_LAB_IGB") != null, "this QEMU has no igb");
    device = LabDevice.open("VFIO_LAB_IGB", backend);
    igb = new IgbCopier(device);
    memory = LabDevice.get(device.dma().allocate(2 * SIZE));
    igb.start();
  }

  private void count() {
    stream = device
        .interrupts()
        .msix()
        .vector(0)
        .doOnNext(i -> messages.addAndGet(i.count()))
        .then()
        .toFuture();
  }

  @AfterEach
  void close() {
    if (device != null) {
      LabDevice.run(device.close());
    }
  }

  private long source() {
    return memory.iova();
  }

  private long destination() {
    return memory.iova() + SIZE;
  }

  /** An address that nothing is mapped at. */
  private long unmapped() {
    return memory.iova() + (1L << 30);
  }

  private void copies() {
    ByteBuffer bytes = memory.buffer();
    for (int i = 0; i < SIZE; i++) {
      bytes.put(i, (byte) (i * 31 + 7)).put(SIZE + i, (byte) 'y');
    }
    assertThat(igb.copy(source(), destination(), SIZE)).isTrue();
    assertThat(bytes.slice(SIZE, SIZE)).isEqualTo(bytes.slice(0, SIZE));
  }

  /** Sends a message, and waits until the stream has it. */
  private void message() {
    long before = messages.get();
    igb.sendMessage();
    LabDevice.eventually(() -> messages.get() > before, "the message");
    assertThat(messages).hasValue(before + 1);
  }

  /** What was counted, when the device is closed and everything it sent has arrived. */
  private void sent(long expected) throws Exception {
    LabDevice.run(device.close());
    stream.get(30, TimeUnit.SECONDS);
    assertThat(messages).hasValue(expected);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void comesUpAgainAndAgain(Backend backend) {
    open(backend);
    for (int i = 0; i < 3; i++) {
      igb.stop();
      igb.start();
    }
    copies();
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void copiesWithoutAMessage(Backend backend) throws Exception {
    open(backend);
    count();
    copies();
    sent(0);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void readsFromWhereNothingIsMapped(Backend backend) throws Exception {
    open(backend);
    count();
    // The card may notice or not; its driver goes on either way.
    igb.copy(unmapped(), destination(), IgbCopier.CHUNK);
    copies();
    sent(0);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void writesToWhereNothingIsMapped(Backend backend) throws Exception {
    open(backend);
    count();
    ByteBuffer before = ByteBuffer.allocate(SIZE).put(0, memory.buffer(), 0, SIZE);
    igb.copy(source(), unmapped(), IgbCopier.CHUNK);
    assertThat(memory.buffer().slice(0, SIZE)).isEqualTo(before);
    copies();
    sent(0);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void sendsAMessage(Backend backend) throws Exception {
    open(backend);
    count();
    message();
    sent(1);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void copiesAndSendsInTurn(Backend backend) throws Exception {
    open(backend);
    count();
    for (int i = 0; i < 5; i++) {
      copies();
      igb.copy(unmapped(), destination(), IgbCopier.CHUNK);
      message();
    }
    sent(5);
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void copiesAsFastAsItCan(Backend backend) throws Exception {
    open(backend);
    count();
    assertThat(igb.copy(source(), destination(), IgbCopier.CHUNK, IgbCopier.FRAMES))
        .isTrue();
    sent(0);
  }

  /** Beyond the kernel's test: thousands of messages, which come together if they come too fast for the handler, and none lost. */
  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void losesNothingInAStormOfMessages(Backend backend) throws Exception {
    open(backend);
    PciAddress address = LabDevice.address("VFIO_LAB_IGB");
    CompletableFuture<Long> total = device
        .interrupts()
        .msix()
        .vector(0)
        .map(Interrupt::count)
        .reduce(0L, Long::sum)
        .toFuture();
    long handled = 0;
    for (int i = 0; i < 2_000; i++) {
      igb.sendMessage();
    }
    for (long last = -1; last != handled; ) {
      last = handled;
      device.config().header().block(LabDevice.LONG);
      handled = LabDevice.handledByKernel(address, "msix", 0);
    }
    LabDevice.run(device.close());
    assertThat(total.get(30, TimeUnit.SECONDS)).isEqualTo(handled).isPositive();
  }
}
