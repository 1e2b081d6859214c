package org.reactorvfio.vendor.virtio;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.reactorvfio.DeviceClosedException;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.emulation.RegisterHandler;
import reactor.core.publisher.Mono;

/**
 * A virtio network VF, and the PF that has its legacy registers: the common ones at 0, with those for MSI-X at the end, and the
 * device's configuration in an area of its own. Commands are taken apart as their bytes are laid out.
 */
final class EmulatedVirtio implements AdminQueue, RegisterHandler {
  static final int NOTIFY_BAR = 2;
  static final int NOTIFY_OFFSET = 0x3000;
  static final int VF = 5;

  final byte[] common = new byte[24];
  final byte[] configuration = new byte[8];
  final List<String> commands = new ArrayList<>();
  final List<Long> notified = new ArrayList<>();
  final EmulatedDevice vf = EmulatedDevice.builder(0x1af4, 0x1041)
      .name("vf")
      .subsystem(0x1af4, 0x1100)
      .classCode(0x020000, 1)
      .registerBar(NOTIFY_BAR, 16384, device -> this)
      .pciExpress()
      .msix(3)
      .resettable(() -> Arrays.fill(common, 4, 24, (byte) 0))
      .build();

  long supported = 0b111_1111;
  int status;
  ByteBuffer notifyInfo = entries(new long[][] {{1, 0, 0}, {2, NOTIFY_BAR, NOTIFY_OFFSET}});
  boolean closed;
  int cutTo = Integer.MAX_VALUE;

  EmulatedVirtio() {
    ByteBuffer.wrap(common).order(ByteOrder.LITTLE_ENDIAN).putInt(0, 0x8f01).putShort(12, (short)
        256);
    for (int i = 0; i < 6; i++) {
      configuration[i] = (byte) (0x52 + i);
    }
    configuration[6] = 1;
  }

  static ByteBuffer entries(long[]... entries) {
    ByteBuffer info = ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < entries.length; i++) {
      info.put(16 * i, (byte) entries[i][0]).put(16 * i + 1, (byte) entries[i][1]);
      info.putLong(16 * i + 8, entries[i][2]);
    }
    return info;
  }

  VirtioLegacyOperator operator() {
    return VirtioLegacyOperator.through(this, name -> name.equals("vf") ? VF : -1);
  }

  @Override
  public Mono<ByteBuffer> execute(ByteBuffer command, int resultSize) {
    return Mono.fromCallable(() -> {
      if (closed) {
        throw new DeviceClosedException("admin queue", "pf", 0, "it was closed", "open it");
      }
      ByteBuffer answer = ByteBuffer.allocate(8 + resultSize).order(ByteOrder.LITTLE_ENDIAN);
      ByteBuffer asked = command.slice().order(ByteOrder.LITTLE_ENDIAN);
      int result = status != 0 ? status : refusal(asked, resultSize);
      answer.putShort(0, (short) result).putShort(2, (short) (result == 0 ? 0 : 3));
      if (result == 0) {
        answer(asked, answer.slice(8, resultSize));
      }
      return answer.limit(Math.min(answer.limit(), cutTo));
    });
  }

  /** EINVAL for registers that are not there. */
  private static int refusal(ByteBuffer command, int resultSize) {
    int opcode = command.getShort(0);
    if (opcode < 2 || opcode > 5) {
      return 0;
    }
    int count = opcode % 2 == 0 ? command.capacity() - 32 : resultSize;
    return command.get(24) + count > (opcode <= 3 ? 24 : 8) ? 22 : 0;
  }

  private void answer(ByteBuffer command, ByteBuffer result) {
    int opcode = command.getShort(0);
    if (command.getShort(2) != 1 || command.getLong(16) != VF + 1) {
      throw new AssertionError("group " + command.getShort(2) + ", member " + command.getLong(16));
    }
    int offset = command.capacity() > 24 ? command.get(24) : 0;
    switch (opcode) {
      case 0 -> result.order(ByteOrder.LITTLE_ENDIAN).putLong(supported);
      case 2, 4 -> {
        int count = command.capacity() - 32;
        command.get(32, opcode == 2 ? common : configuration, offset, count);
        commands.add((opcode == 2 ? "common" : "device") + " write " + offset + "+" + count);
      }
      case 3, 5 -> {
        result.put(opcode == 3 ? common : configuration, offset, result.capacity());
        commands.add(
            (opcode == 3 ? "common" : "device") + " read " + offset + "+" + result.capacity());
      }
      case 6 -> result.put(notifyInfo.slice(0, result.capacity()));
      default -> throw new AssertionError("command " + opcode);
    }
  }

  @Override
  public long read(long offset, int width) {
    return offset == NOTIFY_OFFSET ? 0x77 : 0;
  }

  @Override
  public void write(long offset, int width, long value) {
    if (offset == NOTIFY_OFFSET && width == 2) {
      notified.add(value);
    }
  }
}
