package org.reactorvfio.vendor.virtio;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.reactorvfio.VfioException;
import org.reactorvfio.vendor.MalformedDeviceException;
import reactor.core.publisher.Mono;

/** The commands for one VF (Virtual I/O Device 1.3, 2.12.1 and 2.12.1.2; {@code linux/virtio_pci.h}). */
final class AdminCommands {
  /** What a command is, by its number. */
  enum Opcode {
    LIST_QUERY(0),
    LEGACY_COMMON_CFG_WRITE(2),
    LEGACY_COMMON_CFG_READ(3),
    LEGACY_DEV_CFG_WRITE(4),
    LEGACY_DEV_CFG_READ(5),
    LEGACY_NOTIFY_INFO(6);

    private final int number;

    Opcode(int number) {
      this.number = number;
    }
  }

  /** Those that the legacy interface takes, a bit for each number. */
  private static final long LEGACY = 0b111_1100;

  /** An entry of the notification info: whose BAR, which, and where in it. */
  record NotifyInfo(int owner, int bar, long offset) {
    /** The BAR is the VF's own. */
    static final int MEMBER = 2;
  }

  private static final int GROUP_SRIOV = 1;
  private static final int HEADER_SIZE = 24;
  private static final int STATUS_SIZE = 8;
  private static final int WRITE_DATA_SIZE = 8;
  private static final int LIST_SIZE = 8;
  private static final int NOTIFY_ENTRIES = 4;
  private static final int NOTIFY_ENTRY_SIZE = 16;

  private final AdminQueue queue;
  private final String device;
  private final long member;

  /**
   * Commands for a VF.
   *
   * @param member the VF's number in its group: from 1, in the order of the VFs
   */
  AdminCommands(AdminQueue queue, String device, long member) {
    this.queue = queue;
    this.device = device;
    this.member = member;
  }

  /** Whether the device has all commands that the legacy interface takes. */
  Mono<Boolean> supported() {
    return execute(Opcode.LIST_QUERY, new byte[0], LIST_SIZE)
        .map(result ->
            (require(Opcode.LIST_QUERY, result, LIST_SIZE).getLong(result.position()) & LEGACY)
                == LEGACY);
  }

  /** Reads registers. */
  Mono<byte[]> read(boolean common, int offset, int count) {
    Opcode opcode = common ? Opcode.LEGACY_COMMON_CFG_READ : Opcode.LEGACY_DEV_CFG_READ;
    return execute(opcode, new byte[] {(byte) offset}, count).map(result -> {
      byte[] registers = new byte[count];
      require(opcode, result, count).get(registers);
      return registers;
    });
  }

  /** Writes registers. */
  Mono<Void> write(boolean common, int offset, byte[] registers) {
    byte[] data = new byte[WRITE_DATA_SIZE + registers.length];
    data[0] = (byte) offset;
    System.arraycopy(registers, 0, data, WRITE_DATA_SIZE, registers.length);
    return execute(common ? Opcode.LEGACY_COMMON_CFG_WRITE : Opcode.LEGACY_DEV_CFG_WRITE, data, 0)
        .then();
  }

  /** Where notifications can be written to. */
  Mono<List<NotifyInfo>> notifyInfo() {
    Opcode opcode = Opcode.LEGACY_NOTIFY_INFO;
    return execute(opcode, new byte[0], NOTIFY_ENTRIES * NOTIFY_ENTRY_SIZE).map(result -> {
      List<NotifyInfo> entries = new ArrayList<>();
      int start = result.position();
      for (int i = 0; i < NOTIFY_ENTRIES; i++) {
        int at = start + i * NOTIFY_ENTRY_SIZE;
        if (at + NOTIFY_ENTRY_SIZE > result.limit() || result.get(at) == 0) {
          break;
        }
        entries.add(new NotifyInfo(
            Byte.toUnsignedInt(result.get(at)),
            Byte.toUnsignedInt(result.get(at + 1)),
            result.getLong(at + 8)));
      }
      return entries;
    });
  }

  private Mono<ByteBuffer> execute(Opcode opcode, byte[] data, int resultSize) {
    return Mono.defer(() -> {
          ByteBuffer command = ByteBuffer.allocate(HEADER_SIZE + data.length)
              .order(ByteOrder.LITTLE_ENDIAN)
              .putShort(0, (short) opcode.number)
              .putShort(2, (short) GROUP_SRIOV)
              .putLong(16, member)
              .put(HEADER_SIZE, data);
          return queue.execute(command, resultSize);
        })
        .map(answer -> {
          ByteBuffer written = answer.slice().order(ByteOrder.LITTLE_ENDIAN);
          requireDone(opcode, require(opcode, written, STATUS_SIZE));
          return written.position(STATUS_SIZE);
        });
  }

  private ByteBuffer require(Opcode opcode, ByteBuffer answer, int size) {
    if (answer.remaining() < size) {
      throw new MalformedDeviceException(
          "virtio admin command " + opcode,
          device,
          "the answer has " + answer.remaining() + " of " + size + " bytes");
    }
    return answer;
  }

  /** The numbers of a status are those of errno. */
  private void requireDone(Opcode opcode, ByteBuffer answer) {
    int status = Short.toUnsignedInt(answer.getShort(0));
    if (status != 0) {
      throw new VfioException(
          "virtio admin command " + opcode,
          device,
          status,
          "the PF refused it, with qualifier " + Short.toUnsignedInt(answer.getShort(2)),
          "see what the PF offers, and that the VF is one of its");
    }
  }
}
