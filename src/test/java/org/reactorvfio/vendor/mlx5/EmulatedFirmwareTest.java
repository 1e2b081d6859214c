package org.reactorvfio.vendor.mlx5;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.function.Consumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import reactor.core.publisher.Mono;

/** What the emulated adapter makes of a driver that does things wrong: registers, entries and mailboxes by hand. */
class EmulatedFirmwareTest extends AdapterTestBase {
  private final EmulatedMlx5 adapter = EmulatedMlx5.create(1, 4096, false);
  private final VfioDevice device = open(adapter);
  private final DmaBuffer memory = get(device.dma().allocate(1 << 16));
  private final ByteBuffer bytes = memory.buffer().order(ByteOrder.BIG_ENDIAN);

  private void register(int offset, int value) {
    run(device.bar(0).write32(offset, Integer.reverseBytes(value)));
  }

  private int register(int offset) {
    return Integer.reverseBytes(get(device.bar(0).read32(offset)));
  }

  @BeforeEach
  void tellWhereTheQueueIs() {
    run(device.config().enableBusMaster());
    register(0x10, (int) (memory.iova() >>> 32));
    register(0x14, (int) memory.iova());
    assertThat(execute(new Command(Opcode.ENABLE_HCA), entry -> {})).isZero();
  }

  /** Mailbox 0 to 7 for input, 8 on for output. */
  private Mailbox box(int index) {
    return new Mailbox(bytes.slice(0x1000 + index * 1024, 576).order(ByteOrder.BIG_ENDIAN));
  }

  private long address(int index) {
    return memory.iova() + 0x1000 + index * 1024L;
  }

  /** Has a command carried out that was spoilt before. Returns the last byte of the entry: delivery status and owner. */
  private int execute(Command command, Consumer<Entry> spoil) {
    Entry entry = new Entry(bytes.slice(0, 64).order(ByteOrder.BIG_ENDIAN));
    ByteBuffer input = command.input();
    int inputs = Mailbox.count(input.limit());
    int outputs = Mailbox.count(command.answerLength());
    byte token = 0x33;
    for (int i = 0; i < inputs; i++) {
      box(i).clear();
      box(i).bytes().put(0, input, 16 + 512 * i, Math.min(512, input.limit() - 16 - 512 * i));
      box(i).seal(i, i + 1 < inputs ? address(i + 1) : 0, token);
    }
    for (int i = 0; i < outputs; i++) {
      box(8 + i).clear();
      box(8 + i).seal(i, i + 1 < outputs ? address(9 + i) : 0, token);
    }
    entry.fill(
        input,
        inputs == 0 ? 0 : address(0),
        command.answerLength(),
        outputs == 0 ? 0 : address(8),
        token);
    entry.sign();
    spoil.accept(entry);
    entry.give();
    register(0x18, 1);
    run(Mono.fromSupplier(entry::withFirmware)
        .filter(with -> !with)
        .repeatWhenEmpty(2000, again -> again.delayElements(Duration.ofMillis(2))));
    return bytes.get(63) & 0xff;
  }

  private int status() {
    return bytes.get(Entry.OUTPUT) & 0xff;
  }

  private static Command query() {
    return Adapter.query(Layout.GENERAL, Layout.CURRENT);
  }

  private static Command pages() {
    return new Command(Opcode.MANAGE_PAGES, Layout.HEADER + 8 * 100, Layout.HEADER)
        .with(Layout.OP_MOD, Pages.GIVE)
        .with(Layout.PAGE_COUNT, 100);
  }

  @Test
  void registersAreBigEndian() {
    assertThat(register(0x00)).as("firmware 22.1234").isEqualTo(1234 << 16 | 22);
    assertThat(register(0x04) >>> 16).as("command interface revision").isEqualTo(5);
    assertThat(register(0x14) & 0xff).as("8 entries of 64 bytes").isEqualTo(0x36);
    assertThat(register(0x1fc)).as("not initializing").isZero();
    assertThat(get(device.bar(0).read16(0x04))).as("only whole registers").isEqualTo((short) -1);
    run(device.bar(0).write16(0x18, (short) -1));
  }

  @Test
  void whatIsRightIsCarriedOut() {
    assertThat(execute(query(), entry -> {})).isZero();
    assertThat(status()).isZero();
    assertThat(box(8).signed()).isTrue();
    assertThat(new Entry(bytes.slice(0, 64)).signed()).isTrue();
    assertThat(execute(pages(), entry -> {})).isZero();
    assertThat(adapter.firmware().commands().pages(0)).isEqualTo(100);
  }

  private static int delivery(int status) {
    return status << 1;
  }

  @Test
  void entriesThatAreWrongAreNotTaken() {
    assertThat(execute(query(), entry -> entry.bytes().put(Entry.SIGNATURE, (byte) 0)))
        .isEqualTo(delivery(0x01));
    assertThat(execute(query(), resigned(entry -> entry.bytes().put(Entry.TYPE, (byte) 6))))
        .isEqualTo(delivery(0x10));
    for (int length : new int[] {0, 15, -1, 1 << 30}) {
      assertThat(execute(
              query(), resigned(entry -> entry.bytes().putInt(Entry.INPUT_LENGTH, length))))
          .isEqualTo(delivery(0x07));
    }
    for (int length : new int[] {0, 7, -1, 1 << 30}) {
      assertThat(execute(
              query(), resigned(entry -> entry.bytes().putInt(Entry.OUTPUT_LENGTH, length))))
          .isEqualTo(delivery(0x08));
    }
    assertThat(execute(query(), resigned(entry -> entry.bytes().put(Entry.TOKEN, (byte) 1))))
        .isEqualTo(delivery(0x02));
  }

  private static Consumer<Entry> resigned(Consumer<Entry> spoil) {
    return entry -> {
      spoil.accept(entry);
      entry.bytes().put(Entry.SIGNATURE, (byte) 0);
      entry.sign();
    };
  }

  @Test
  void mailboxesThatAreWrongAreNotTaken() {
    for (boolean input : new boolean[] {true, false}) {
      Command command = input ? pages() : query();
      int box = input ? 1 : 9;
      int alignment = input ? 0x05 : 0x04;
      int pointer = input ? Entry.INPUT_MAILBOX : Entry.OUTPUT_MAILBOX;
      assertThat(execute(command, entry -> box(box).bytes().put(0, (byte) 1)))
          .isEqualTo(delivery(0x01));
      assertThat(execute(command, entry -> box(box).seal(1, next(box), (byte) 0x34)))
          .isEqualTo(delivery(0x02));
      assertThat(execute(command, entry -> box(box).seal(7, next(box), (byte) 0x33)))
          .isEqualTo(delivery(0x03));
      for (long address : new long[] {0, memory.iova() + 512, 0xdead_0000L}) {
        assertThat(execute(command, resigned(entry -> entry.bytes().putLong(pointer, address))))
            .isEqualTo(delivery(alignment));
        assertThat(execute(command, entry -> box(box - 1).seal(0, address, (byte) 0x33)))
            .isEqualTo(delivery(alignment));
      }
    }
    assertThat(adapter.firmware().commands().pages(0)).isZero();
  }

  private long next(int box) {
    return box(box).bytes().getLong(Mailbox.NEXT);
  }

  @Test
  void unsignedWorksWhereNothingIsSigned() {
    adapter.firmware().signatures(false);
    assertThat(execute(query(), entry -> {
          entry.bytes().put(Entry.SIGNATURE, (byte) 0);
          box(8).bytes().put(Mailbox.SIGNATURE, (byte) 0);
        }))
        .isZero();
    assertThat(bytes.get(Entry.SIGNATURE)).isZero();
  }

  @Test
  void unknownCommandsAreRefused() {
    assertThat(execute(new Command(Opcode.ALLOC_PD).with(Layout.OPCODE, 0xbad), entry -> {}))
        .isZero();
    assertThat(status()).as("bad operation").isEqualTo(0x02);
  }

  /** Everything that names something is refused when that is not there. */
  @ParameterizedTest
  @ValueSource(ints = {0x115, 0x116, 0x117, 0x118, 0x119, 0x200, 0x202, 0x301, 0x801, 0x803})
  void whatIsNotThereCannotBeUsed(int opcode) {
    assertThat(execute(
            new Command(Opcode.CREATE_MKEY, Layout.MKEY_LENGTH, Layout.MIGRATION_LENGTH)
                .with(Layout.OPCODE, opcode),
            entry -> {}))
        .isZero();
    assertThat(status()).isNotZero();
    assertThat(adapter.objects()).isZero();
  }

  @Test
  void nothingIsDoneBeforeTheAdapterIsEnabled() {
    assertThat(execute(new Command(Opcode.DISABLE_HCA), entry -> {})).isZero();
    assertThat(execute(new Command(Opcode.ALLOC_PD), entry -> {})).isZero();
    assertThat(status()).as("bad resource state").isEqualTo(0x09);
  }

  @Test
  void anAdapterIsMadeOfWhatCanBe() {
    for (Runnable bad : new Runnable[] {
      () -> EmulatedMlx5.create(-1),
      () -> EmulatedMlx5.create(128),
      () -> EmulatedMlx5.create(1, 5000, false),
      () -> EmulatedMlx5.create(1, 2048, false),
      () -> EmulatedMlx5.create(1, 1 << 29, false)
    }) {
      assertThatIllegalArgumentException().isThrownBy(bad::run);
    }
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Mlx5.onPf(start(EmulatedMlx5.create(0)).pf(), -1));
  }
}
