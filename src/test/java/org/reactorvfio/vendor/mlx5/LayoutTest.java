package org.reactorvfio.vendor.mlx5;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HexFormat;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.dma.DmaBuffer;
import org.reactorvfio.emulation.EmulatedDevice;

/**
 * Bytes of commands, entries and mailboxes. The driver and the emulated firmware share their constants, so these are written down
 * here once more: as a C compiler lays out the structures of Linux 7.3's {@code mlx5_ifc.h} and {@code device.h}.
 */
class LayoutTest {
  @ParameterizedTest
  @CsvSource({
    "0x00, 16, 0xabcd, abcd0000 00000000",
    "0x30, 16, 0xabcd, 00000000 0000abcd",
    "0x40, 1, 1, 00000000 00000000 80000000 00000000",
    "0x41, 1, 1, 00000000 00000000 40000000 00000000",
    "0x3a, 6, 0x3f, 00000000 0000003f",
    "0x08, 24, 0x123456, 00123456 00000000",
    "0x20, 32, 0xdeadbeef, 00000000 deadbeef",
    "0x00, 64, 0x0123456789abcdef, 01234567 89abcdef",
    "0x20, 64, 0x0123456789abcdef, 00000000 01234567 89abcdef 00000000"
  })
  void fieldsAreBigEndian(String bit, int width, String value, String expected) {
    Field field = new Field(Integer.decode(bit), width);
    ByteBuffer bytes = ByteBuffer.allocate(16);
    field.set(bytes, Long.decode(value));
    assertThat(hex(bytes)).startsWith(expected.replace(" ", ""));
    assertThat(field.get(bytes)).isEqualTo(Long.decode(value));
    field.set(bytes, 0);
    assertThat(hex(bytes)).isEqualTo("0".repeat(32));
  }

  @Test
  void whatIsBesideAFieldStays() {
    ByteBuffer bytes = ByteBuffer.allocate(8).putLong(0, -1);
    new Field(0x0c, 8).set(bytes, 0);
    assertThat(hex(bytes)).isEqualTo("fff00fffffffffff");
  }

  @Test
  void fieldsLieInWords() {
    for (int[] bad : new int[][] {{-1, 1}, {0, 0}, {31, 2}, {0, 33}, {16, 64}, {0, 65}}) {
      assertThatIllegalArgumentException().isThrownBy(() -> new Field(bad[0], bad[1]));
    }
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new Field(0, 4).set(ByteBuffer.allocate(4), 16));
  }

  private static String hex(ByteBuffer bytes) {
    return HexFormat.of().formatHex(bytes.array());
  }

  /** From {@code offsetof} in C, in bits. */
  @Test
  void fieldsAreWhereTheKernelHasThem() {
    Map<Field, Integer> bits = Map.ofEntries(
        Map.entry(Layout.OWN_VHCA_ID, 0x80 + 0x30),
        Map.entry(Layout.HAS_GENERAL_2, 0x80 + 0x20),
        Map.entry(Layout.VHCA_RESOURCE_MANAGER, 0x80 + 0x1f),
        Map.entry(Layout.COMMAND_SIGNATURES, 0x80 + 0x210),
        Map.entry(Layout.LOG_UAR_PAGE_SIZE, 0x80 + 0x490),
        Map.entry(Layout.MIGRATION, 0x80 + 0x68d),
        Map.entry(Layout.MIGRATABLE, 0x80 + 0x80),
        Map.entry(Layout.MULTI_LOAD, 0x80 + 0xc8),
        Map.entry(Layout.TRACKING, 0x80 + 0xc9),
        Map.entry(Layout.CHUNKS, 0x80 + 0xd0),
        Map.entry(Layout.TELLS_STATE, 0x80 + 0xd9),
        Map.entry(Layout.SUPPORTED_ISSI, 0x360),
        Map.entry(Layout.MIGRATION_STATE, 0x60),
        Map.entry(Layout.REMAINING, 0xc0),
        Map.entry(Layout.EQ_EVENTS, 0x2c0));
    bits.forEach((field, bit) -> assertThat(field.bit()).isEqualTo(bit));
    assertThat(Layout.CAPABILITIES_LENGTH).isEqualTo(4112);
    assertThat(Layout.ISSI_LENGTH).isEqualTo(112);
    assertThat(Layout.MKEY_LENGTH).isEqualTo(272);
    assertThat(Layout.EQ_LENGTH).isEqualTo(272);
    assertThat(Layout.INIT_LENGTH).isEqualTo(32);
    assertThat(Layout.STATE_LENGTH).isEqualTo(32);
    assertThat(Layout.MIGRATION_LENGTH).isEqualTo(64);
  }

  @Test
  void commandsAreAsTheKernelWritesThem() {
    Command save = new Command(Opcode.SAVE_VHCA_STATE, Layout.STATE_LENGTH, Layout.HEADER)
        .with(Layout.INCREMENTAL, 1)
        .with(Layout.TRACK, 1)
        .with(Layout.VHCA_ID, 0x1234)
        .with(Layout.MKEY, 0x00aabb00)
        .with(Layout.SIZE, 0x5000);
    assertThat(hex(save.input()))
        .isEqualTo("01180000" + "00000000" + "c0001234" + "00000000" + "0000000000000000"
            + "00aabb00" + "00005000");
    Command query = new Command(
            Opcode.QUERY_VHCA_MIGRATION_STATE, Layout.HEADER, Layout.MIGRATION_LENGTH)
        .with(Layout.CHUNKED, 1)
        .with(Layout.VHCA_ID, 7);
    assertThat(hex(query.input())).isEqualTo("01170000" + "00000000" + "40000007" + "00000000");
    Command suspend =
        new Command(Opcode.SUSPEND_VHCA).with(Layout.OP_MOD, 1).with(Layout.VHCA_ID, 0xffff);
    assertThat(hex(suspend.input())).isEqualTo("01150000" + "00000001" + "0000ffff" + "00000000");
    Command caps = Adapter.query(Layout.GENERAL_2, Layout.CURRENT)
        .with(Layout.OTHER_FUNCTION, 1)
        .with(Layout.FUNCTION_ID, 3);
    assertThat(hex(caps.input())).isEqualTo("01000000" + "00000041" + "80000003" + "00000000");
    Command pages = new Command(Opcode.MANAGE_PAGES, 24, 16)
        .with(Layout.OP_MOD, Pages.GIVE)
        .with(Layout.FUNCTION_ID, 2)
        .with(Layout.PAGE_COUNT, 1)
        .with(new Field(Layout.PAGES, 64), 0x1000);
    assertThat(hex(pages.input()))
        .isEqualTo("01080000" + "00000001" + "00000002" + "00000001" + "0000000000001000");
  }

  @Test
  void keysAreAsTheKernelMakesThem() {
    VfioDevice device =
        AdapterTestBase.get(Vfio.open(EmulatedDevice.builder(1, 2).build()));
    DmaBuffer memory = AdapterTestBase.get(device.dma().allocate(3 * 4096));
    ByteBuffer key = Image.create(memory, 0x123).input();
    String expected = "02000000" + "00000000" + "00000000" + "00000000" // opcode
        + "00003d00" // rw, rr, lw, lr; access mode: MTT
        + "ffffff00" // queue pair
        + "00000000"
        + "00000123" // protection domain
        + "0000000000000000" // start
        + "0000000000003000" // length
        + "00000000".repeat(5)
        + "00000002" // octwords
        + "0000000c" // log of the page size
        + "00000000";
    assertThat(hex(key)).startsWith(expected);
    assertThat(key.limit()).isEqualTo(272 + 4 * 8);
    assertThat(key.getInt(0x60)).as("actual octwords").isEqualTo(2);
    for (int i = 0; i < 3; i++) {
      assertThat(key.getLong(272 + 8 * i)).isEqualTo(memory.iova() + i * 4096L);
    }
    assertThat(key.getLong(272 + 24)).as("filled up").isZero();
    assertThat(new Image(memory, memory.buffer(), 0xabcdef).key()).isEqualTo(0xabcdef00L);

    DmaBuffer events = AdapterTestBase.get(device.dma().allocate(EventQueue.SIZE));
    ByteBuffer queue = EventQueue.create(events, 0x9, 2).input();
    assertThat(queue.getInt(0)).isEqualTo(0x0301_0000);
    assertThat(queue.getInt(0x10 + 0x0c)).as("log of the size, doorbells").isEqualTo(0x0800_0009);
    assertThat(queue.getInt(0x10 + 0x14)).as("vector").isEqualTo(2);
    assertThat(queue.getLong(0x58)).as("events 0x0a and 0x0b").isEqualTo(0xc00);
    assertThat(queue.getLong(272 + 8)).isEqualTo(events.iova() + 4096);
    AdapterTestBase.run(device.close());
  }

  @Test
  void entriesAreAsTheKernelWritesThem() {
    ByteBuffer memory = ByteBuffer.allocate(64).order(ByteOrder.BIG_ENDIAN);
    Entry entry = new Entry(memory);
    ByteBuffer input = ByteBuffer.allocate(20);
    for (int i = 0; i < 20; i++) {
      input.put(i, (byte) (i + 1));
    }
    entry.fill(input, 0x11_2233_4400L, 0x1010, 0x55_6677_8800L, (byte) 0x42);
    entry.sign();
    assertThat(entry.withFirmware()).isFalse();
    entry.give();
    assertThat(entry.withFirmware()).isTrue();
    assertThat(entry.signed()).isTrue();
    int signature = memory.get(61) & 0xff;
    assertThat(hex(memory))
        .isEqualTo("07000000" + "00000014" + "0000001122334400"
            + "0102030405060708090a0b0c0d0e0f10" + "0".repeat(32)
            + "0000005566778800" + "00001010" + "42" + String.format("%02x", signature) + "0001");
    int sum = 0;
    for (byte b : memory.array()) {
      sum ^= b;
    }
    assertThat(sum & 0xff).isEqualTo(0xff);
  }

  @Test
  void mailboxesAreAsTheKernelWritesThem() {
    ByteBuffer memory = ByteBuffer.allocate(576).order(ByteOrder.BIG_ENDIAN);
    Mailbox box = new Mailbox(memory);
    memory.put(3, (byte) 9);
    box.seal(2, 0x1_0000_0400L, (byte) 0x42);
    assertThat(box.signed()).isTrue();
    assertThat(memory.getLong(560)).isEqualTo(0x1_0000_0400L);
    assertThat(memory.getInt(568)).isEqualTo(2);
    assertThat(memory.get(573)).isEqualTo((byte) 0x42);
    // 0x01 ^ 0x04 ^ 0x02 ^ 0x42, inverted; the whole, the control signature included, once more.
    assertThat(memory.get(574)).isEqualTo((byte) ~0x45);
    assertThat(memory.get(575)).isEqualTo((byte) ~(9 ^ 0xff));
    memory.put(511, (byte) 1);
    assertThat(box.signed()).isFalse();
    memory.put(511, (byte) 0).put(520, (byte) 1);
    assertThat(box.signed()).isFalse();
    box.clear();
    assertThat(hex(memory)).isEqualTo("0".repeat(2 * 576));
    assertThat(Mailbox.count(16)).isZero();
    assertThat(Mailbox.count(17)).isEqualTo(1);
    assertThat(Mailbox.count(16 + 512)).isEqualTo(1);
    assertThat(Mailbox.count(4112)).isEqualTo(8);
  }
}
