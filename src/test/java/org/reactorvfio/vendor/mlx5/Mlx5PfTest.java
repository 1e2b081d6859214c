package org.reactorvfio.vendor.mlx5;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.region.SriovCapability;
import org.reactorvfio.vendor.mlx5.EmulatedMlx5.Fault;
import org.reactorvfio.vendor.mlx5.Mlx5CommandException.Reason;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** The start and stop of an adapter, and its command queue. */
class Mlx5PfTest extends AdapterTestBase {
  private static final Duration SHORT = Duration.ofMillis(100);

  private static Mono<ByteBuffer> execute(Mlx5Pf pf, Command command) {
    return pf.commands("test").flatMap(queue -> queue.execute(command));
  }

  private static Command query() {
    return Adapter.query(Layout.GENERAL, Layout.CURRENT);
  }

  private static int outstanding(Mlx5Pf pf) {
    return get(pf.commands("test")).outstanding();
  }

  @Test
  void anAdapterIsStartedAndStopped() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(2);
    Started started = start(adapter);
    assertThat(started.pf().name()).isEqualTo("emulated mlx5");
    assertThat(started.pf().firmware()).isEqualTo("22.1234.0035");
    assertThat(started.pf().capabilities().migration()).isTrue();
    assertThat(started.pf().capabilities().tracking()).isTrue();
    assertThat(adapter.objects()).as("PD, doorbells, event queue").isEqualTo(3);
    assertThat(started.pf().pages(0)).isEqualTo(Pages.BATCH + 8);
    assertThat(adapter.pf().msixEnabled()).isTrue();

    run(started.pf().close());
    assertThat(adapter.objects()).isZero();
    assertThat(adapter.firmware().commands().pages(0)).as("taken back").isZero();
    assertThat(adapter.pf().msixEnabled()).isFalse();
    assertThat(adapter.pf().refusedAccesses()).isZero();
    StepVerifier.create(started.device().operations().unmapAllDma())
        .as("all memory was given back")
        .expectNext(0L)
        .expectComplete()
        .verify(LIMIT);
    run(started.pf().close());
    run(started.pf().onEnd());
    assertThat(commandFailure(execute(started.pf(), query())).reason()).isEqualTo(Reason.ABORTED);
  }

  @Test
  void anAdapterIsStartedAgain() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    VfioDevice device = open(adapter);
    for (int i = 0; i < 3; i++) {
      Mlx5Pf pf = get(Mlx5Pf.open(device, LIMITS));
      get(execute(pf, query()));
      run(pf.close());
    }
    assertThat(get(device.operations().unmapAllDma())).isZero();
  }

  @Test
  void firmwareIsWaitedFor() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    adapter.firmware().initializing(true);
    VfioDevice device = open(adapter);
    StepVerifier.create(Mlx5Pf.open(device, LIMITS))
        .expectSubscription()
        .expectNoEvent(Duration.ofMillis(50))
        .then(() -> adapter.firmware().initializing(false))
        .consumeNextWith(pf -> closeLater(pf.close()))
        .expectComplete()
        .verify(LIMIT);
  }

  @Test
  void firmwareThatDoesNotComeUpIsGivenUp() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    adapter.firmware().initializing(true);
    VfioDevice device = open(adapter);
    Mlx5CommandException e = commandFailure(Mlx5Pf.open(device, new Adapter.Limits(LIMIT, SHORT)));
    assertThat(e.reason()).isEqualTo(Reason.TIMED_OUT);
    assertThat(e.errno()).isEqualTo(110);
    assertThat(get(device.operations().unmapAllDma())).isZero();
  }

  @Test
  void whatCannotBeDrivenIsNotSupported() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    VfioDevice device = open(adapter);
    adapter.firmware().revision(4);
    assertThat(failure(NotSupportedException.class, Mlx5Pf.open(device)))
        .hasMessageContaining("revision 4");
    adapter.firmware().revision(5);
    adapter.firmware().logEntries(7);
    assertThat(failure(NotSupportedException.class, Mlx5Pf.open(device)))
        .hasMessageContaining("2^7 entries");

    VfioDevice other = get(Vfio.open(EmulatedDevice.builder(0x8086, 1).build()));
    closeLater(other.close());
    assertThat(failure(NotSupportedException.class, Mlx5Pf.open(other)))
        .hasMessageContaining("8086:0001");
  }

  /** Every command of the start may fail: nothing stays. */
  @ParameterizedTest
  @ValueSource(ints = {0x104, 0x10a, 0x10b, 0x107, 0x108, 0x100, 0x109, 0x102, 0x800, 0x802, 0x301})
  void aStartThatFailsLeavesNothing(int opcode) {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    adapter.inject(opcode, Fault.refused(0x08, 0xabcd));
    VfioDevice device = open(adapter);
    Mlx5CommandException e = commandFailure(Mlx5Pf.open(device, LIMITS));
    assertThat(e.reason()).isEqualTo(Reason.REFUSED);
    assertThat(e.status()).isEqualTo(0x08);
    assertThat(e.syndrome()).isEqualTo(0xabcd);
    assertThat(e.errno()).isEqualTo(12);
    assertThat(e).hasMessageContaining("limits exceeded").hasMessageContaining("0xabcd");
    assertThat(e.operation()).contains(String.format("0x%x", opcode));
    assertThat(e.device()).isEqualTo("emulated mlx5");
    assertThat(adapter.objects()).isZero();
    assertThat(get(device.operations().unmapAllDma())).isZero();
    assertThat(adapter.pf().msixEnabled()).isFalse();
    Mlx5Pf again = get(Mlx5Pf.open(device, LIMITS));
    run(again.close());
  }

  @Test
  void firmwareWithoutRevisionsOfItsInterfaceIsStarted() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(1);
    adapter.firmware().commands().oldFirmware();
    Started started = start(adapter);
    assertThat(started.pf().capabilities().tracking()).isFalse();
  }

  @Test
  void aCancelledStartLeavesNothing() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    adapter.inject(Opcode.INIT_HCA.number(), Fault.held());
    VfioDevice device = open(adapter);
    StepVerifier.create(Mlx5Pf.open(device, new Adapter.Limits(SHORT, LIMIT)))
        .thenAwait(Duration.ofMillis(20))
        .thenCancel()
        .verify(LIMIT);
    Mono<Boolean> masterOff = device.config().header().map(header -> (header.command() & 4) == 0);
    run(masterOff
        .filter(off -> off)
        .repeatWhenEmpty(1000, again -> again.delayElements(Duration.ofMillis(5))));
    assertThat(adapter.pf().msixEnabled()).isFalse();
  }

  @Test
  void moreCommandsThanEntriesAreCarriedOut() {
    Started started = start(EmulatedMlx5.create(0));
    List<Long> ids = get(Flux.range(0, 300)
        .flatMap(i -> execute(started.pf(), new Command(Opcode.ALLOC_PD)), 300)
        .map(answer -> Layout.OBJECT.get(answer))
        .collectList());
    assertThat(ids).hasSize(300).doesNotHaveDuplicates();
    run(Flux.fromIterable(ids)
        .flatMap(
            id -> execute(started.pf(), new Command(Opcode.DEALLOC_PD).with(Layout.OBJECT, id)))
        .then());
    assertThat(started.adapter().objects()).isEqualTo(3);
    assertThat(outstanding(started.pf())).isZero();
  }

  @Test
  void answersWithoutEventsAreFound() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    Started started = start(adapter);
    run(started.device().config().disableBusMaster());
    run(started.device().config().enableBusMaster());
    adapter.firmware().listenNoMore();
    get(execute(started.pf(), query()));
  }

  @Test
  void longInputsAndAnswersGoByMailboxes() {
    Started started = start(EmulatedMlx5.create(0));
    Pages pages = new Pages(started.device().dma(), get(started.pf().commands("test")));
    // Two batches, the first of which fills all mailboxes of an entry.
    run(pages.give(7, Pages.BATCH + 1));
    assertThat(started.adapter().firmware().commands().pages(7)).isEqualTo(Pages.BATCH + 1);
    assertThat(get(pages.take(7, 5))).isEqualTo(5);
    assertThat(pages.count(7)).isEqualTo(Pages.BATCH - 4);
    run(pages.takeAll(7));
    assertThat(pages.count(7)).isZero();
    // More mailboxes than an entry has.
    Image image = get(started.pf().images().allocate(8 << 20));
    assertThat(image.size()).isEqualTo(8 << 20);
    assertThat(started.adapter().objects()).isEqualTo(4);
    run(started.pf().images().discard(image));
    assertThat(started.adapter().objects()).isEqualTo(3);
    assertThat(started.pf().images().count()).isZero();
  }

  @Test
  void pagesThatCannotBeGivenAreRefused() {
    Started started = start(EmulatedMlx5.create(0));
    Pages pages = new Pages(started.device().dma(), get(started.pf().commands("test")));
    started.adapter().inject(Opcode.MANAGE_PAGES.number(), Fault.refused(0x03, 1));
    assertThat(commandFailure(pages.give(0, 4)).reason()).isEqualTo(Reason.REFUSED);
    assertThat(pages.count(0)).isZero();
    assertThat(started.adapter().firmware().commands().refusedPages()).isEqualTo(1);
  }

  @Test
  void pagesThatWereNeverGivenDoNotComeBack() {
    Started started = start(EmulatedMlx5.create(0));
    Pages pages = new Pages(started.device().dma(), get(started.pf().commands("test")));
    run(pages.give(0, 4));
    started.adapter().inject(Opcode.MANAGE_PAGES.number(), Fault.answering(answer -> {
      Layout.PAGES_TAKEN.set(answer, 1);
      answer.putLong(Layout.PAGES / 8, 0xdead000L);
    }));
    assertThat(commandFailure(pages.take(0, 1)).reason()).isEqualTo(Reason.MALFORMED);
    started
        .adapter()
        .inject(
            Opcode.MANAGE_PAGES.number(),
            Fault.answering(answer -> Layout.PAGES_TAKEN.set(answer, 0xffff_ffffL)));
    assertThat(commandFailure(pages.take(0, 1)).reason()).isEqualTo(Reason.MALFORMED);
  }

  @ParameterizedTest
  @CsvSource({
    "0x1, 5, internal error",
    "0x2, 22, bad operation",
    "0x3, 22, bad parameter",
    "0x4, 5, bad system state",
    "0x5, 22, bad resource",
    "0x6, 16, resource busy",
    "0x7, 11, not ready",
    "0x8, 12, limits exceeded",
    "0x9, 22, bad resource state",
    "0xa, 22, bad index",
    "0xf, 11, no resources",
    "0x10, 22, queue pair",
    "0x30, 22, bad packet",
    "0x40, 22, completions",
    "0x50, 5, bad input length",
    "0x51, 5, bad output length",
    "0xee, 5, not known"
  })
  void refusalsSayWhy(String status, int errno, String text) {
    Started started = start(EmulatedMlx5.create(0));
    started.adapter().inject(0x100, Fault.refused(Integer.decode(status), 0x12345678));
    Mlx5CommandException e = commandFailure(execute(started.pf(), query()));
    assertThat(e.reason()).isEqualTo(Reason.REFUSED);
    assertThat(e.errno()).isEqualTo(errno);
    assertThat(e.syndrome()).isEqualTo(0x12345678);
    assertThat(e).hasMessageContaining(text);
    get(execute(started.pf(), query()));
  }

  @ParameterizedTest
  @CsvSource({
    "1, 53, signature",
    "2, 53, token",
    "3, 14, block number",
    "4, 14, output mailbox",
    "5, 14, input mailbox",
    "6, 5, internal",
    "7, 42, input length",
    "8, 42, output length",
    "9, 42, reserved",
    "16, 42, kind of entry",
    "99, 22, not known"
  })
  void undeliveredCommandsSayWhy(int status, int errno, String text) {
    Started started = start(EmulatedMlx5.create(0));
    started.adapter().inject(0x100, Fault.notDelivered(status));
    Mlx5CommandException e = commandFailure(execute(started.pf(), query()));
    assertThat(e.reason()).isEqualTo(Reason.NOT_DELIVERED);
    assertThat(e.status()).isEqualTo(status);
    assertThat(e.errno()).isEqualTo(errno);
    assertThat(e).hasMessageContaining(text);
    get(execute(started.pf(), query()));
  }

  @Test
  void answersThatContradictThemselvesAreRefused() {
    Started started = start(EmulatedMlx5.create(0));
    Map<String, Fault> inMailboxes = Map.of(
        "block 7 has a wrong signature", Fault.wrongSignature(),
        "block 7 has another command's token", Fault.wrongToken(),
        "block 7 says it is block 8", Fault.wrongBlock(),
        "4113 bytes, 4112 were asked for", Fault.wrongLength(4113),
        "-1 bytes, 4112 were asked for", Fault.wrongLength(-1));
    inMailboxes.forEach((text, fault) -> {
      started.adapter().inject(0x100, fault);
      Mlx5CommandException e = commandFailure(execute(started.pf(), query()));
      assertThat(e.reason()).isEqualTo(Reason.MALFORMED);
      assertThat(e.errno()).isEqualTo(71);
      assertThat(e).hasMessageContaining(text);
    });
    Map<String, Fault> inEntries = Map.of(
        "its entry has a wrong signature", Fault.wrongSignature(),
        "its entry has another command's token", Fault.wrongToken());
    inEntries.forEach((text, fault) -> {
      started.adapter().inject(0x800, fault);
      assertThat(commandFailure(execute(started.pf(), new Command(Opcode.ALLOC_PD))))
          .hasMessageContaining(text);
    });
    get(execute(started.pf(), query()));
    assertThat(outstanding(started.pf())).isZero();
  }

  @Test
  void signaturesAreCheckedOnlyWhereThereAreSome() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    adapter.firmware().signatures(false);
    Started started = start(adapter);
    get(execute(started.pf(), query()));
    adapter.inject(0x100, Fault.wrongSignature());
    get(execute(started.pf(), query()));
    adapter.inject(0x100, Fault.wrongToken());
    assertThat(commandFailure(execute(started.pf(), query())).reason()).isEqualTo(Reason.MALFORMED);
  }

  @Test
  void aLateAnswerFreesItsEntry() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    Started started = start(adapter, new Adapter.Limits(SHORT, LIMIT));
    adapter.firmware().health(0x10);
    adapter.inject(0x100, Fault.held());
    Mlx5CommandException e = commandFailure(execute(started.pf(), query()));
    assertThat(e.reason()).isEqualTo(Reason.TIMED_OUT);
    assertThat(e.errno()).isEqualTo(110);
    assertThat(e).hasMessageContaining("within 100 ms").hasMessageContaining("ill (syndrome 0x10)");
    assertThat(outstanding(started.pf())).isEqualTo(1);
    get(execute(started.pf(), query()));
    adapter.release();
    awaitOutstanding(started, 0);
  }

  @Test
  void whatNobodyWaitsForAnyMoreIsGivenBack() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    Started started = start(adapter, new Adapter.Limits(SHORT, LIMIT));
    adapter.inject(Opcode.CREATE_MKEY.number(), Fault.held());
    assertThat(commandFailure(started.pf().images().allocate(4096)).reason())
        .isEqualTo(Reason.TIMED_OUT);
    assertThat(started.pf().images().count()).as("the firmware may use it").isEqualTo(1);
    adapter.release();
    run(Mono.fromSupplier(() -> started.pf().images().count())
        .filter(count -> count == 0)
        .repeatWhenEmpty(2000, again -> again.delayElements(Duration.ofMillis(5))));
    assertThat(adapter.objects()).isEqualTo(3);
  }

  @Test
  void anImageStaysWhileTheFirmwareHoldsOnToIt() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    Started started = start(adapter);
    Image image = get(started.pf().images().allocate(4096));
    adapter.inject(Opcode.DESTROY_MKEY.number(), Fault.refused(0x06, 0));
    run(started.pf().images().discard(image));
    assertThat(started.pf().images().count()).isEqualTo(1);
    run(started.pf().close());
    assertThat(get(started.device().operations().unmapAllDma())).isZero();
  }

  @Test
  void firmwareThatAnswersNothingIsNotWaitedForAgainAndAgain() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    Started started = start(adapter, new Adapter.Limits(SHORT, LIMIT));
    // Seven entries; the eighth is for pages.
    for (int i = 0; i < 7; i++) {
      adapter.inject(0x100, Fault.held());
    }
    List<Reason> reasons = get(Flux.range(0, 9)
        .flatMap(i -> execute(started.pf(), query())
            .map(answer -> Reason.ABORTED)
            .onErrorResume(Mlx5CommandException.class, e -> Mono.just(e.reason())))
        .collectList());
    assertThat(reasons).hasSize(9).containsOnly(Reason.TIMED_OUT);
    get(execute(
        started.pf(), new Command(Opcode.MANAGE_PAGES).with(Layout.OP_MOD, Pages.CANNOT_GIVE)));
    adapter.inject(Opcode.MANAGE_PAGES.number(), Fault.held());
    assertThat(commandFailure(execute(
                started.pf(),
                new Command(Opcode.MANAGE_PAGES).with(Layout.OP_MOD, Pages.CANNOT_GIVE)))
            .reason())
        .isEqualTo(Reason.TIMED_OUT);
    assertThat(commandFailure(execute(started.pf(), query())))
        .hasMessageContaining("none of the commands before it");
    adapter.release();
    awaitOutstanding(started, 0);
    get(execute(started.pf(), query()));
  }

  @Test
  void aCancelledCommandKeepsItsEntryUntilItIsAnswered() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(0);
    Started started = start(adapter);
    adapter.inject(0x100, Fault.held());
    StepVerifier.create(execute(started.pf(), query()))
        .expectSubscription()
        .thenAwait(Duration.ofMillis(20))
        .thenCancel()
        .verify(LIMIT);
    assertThat(outstanding(started.pf())).isEqualTo(1);
    adapter.release();
    awaitOutstanding(started, 0);
  }

  @Test
  void aResetOfThePfEndsIt() {
    EmulatedMlx5 adapter = EmulatedMlx5.create(1);
    Started started = start(adapter);
    adapter.inject(0x100, Fault.held());
    StepVerifier.create(execute(started.pf(), query()))
        .expectSubscription()
        .thenAwait(Duration.ofMillis(20))
        .then(() -> run(started.device().reset()))
        .consumeErrorWith(
            e -> assertThat(((Mlx5CommandException) e).reason()).isEqualTo(Reason.ABORTED))
        .verify(LIMIT);
    run(started.pf().onEnd());
    run(started.pf().close());
    assertThat(get(started.device().operations().unmapAllDma())).isZero();
    Mlx5Pf again = get(Mlx5Pf.open(started.device(), LIMITS));
    get(execute(again, query()));
    run(again.close());
  }

  @Test
  void thePfsCloseEndsIt() {
    Started started = start(EmulatedMlx5.create(0));
    started.adapter().inject(0x100, Fault.held());
    StepVerifier.create(execute(started.pf(), query()))
        .expectSubscription()
        .thenAwait(Duration.ofMillis(20))
        .then(() -> run(started.device().close()))
        .consumeErrorWith(
            e -> assertThat(((Mlx5CommandException) e).reason()).isEqualTo(Reason.ABORTED))
        .verify(LIMIT);
    run(started.pf().close());
    assertThat(started.adapter().pf().isOpen()).isFalse();
  }

  @Test
  void thePfsLossEndsIt() {
    Started started = start(EmulatedMlx5.create(0));
    started.adapter().inject(0x100, Fault.held());
    StepVerifier.create(execute(started.pf(), query()))
        .expectSubscription()
        .thenAwait(Duration.ofMillis(20))
        .then(() -> started.adapter().pf().unplug())
        .consumeErrorWith(
            e -> assertThat(((Mlx5CommandException) e).reason()).isEqualTo(Reason.ABORTED))
        .verify(LIMIT);
    run(started.pf().close());
  }

  @ParameterizedTest
  @CsvSource({
    "2, 0", "3, -1", "4, 1", "5, -1", "6, 2", "8, 3", "9, -1", "10, -1", "1, -1", "0, -1", "-2, -1"
  })
  void vfsAreFoundByTheirAddresses(int distance, int index) {
    SriovCapability sriov = new SriovCapability(0, 1, 1, 8, 8, 4, 2, 2, 0x101e, 1, 1);
    assertThat(Mlx5Pf.index(distance, sriov)).isEqualTo(index < 0 ? null : index);
  }
}
