package org.reactorvfio.vendor.mlx5;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.reactorvfio.emulation.EmulatedDevice;
import reactor.core.scheduler.Schedulers;

/**
 * An adapter in this process: a PF with a command interface, and VFs whose migration goes by it. It takes commands as a real one
 * does, out of the driver's memory, and checks what it finds there. It moves no packets: a VF is the memory behind its BAR 0, which
 * its driver writes, which is moved by a migration, and which a reset clears.
 */
public final class EmulatedMlx5 {
  private static final int VENDOR = 0x15b3;
  private static final int ETHERNET = 0x02_0000;
  private static final int STATE_SIZE = 1 << 16;
  private static final int LARGEST_STATE = 1 << 28;

  private final EmulatedDevice pf;
  private final EmulatedFirmware firmware;
  private final List<EmulatedDevice> vfs = new ArrayList<>();

  private EmulatedMlx5(int count, int stateSize, boolean chunks) {
    List<EmulatedVhca> vhcas = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      vhcas.add(new EmulatedVhca(stateSize));
    }
    EmulatedFirmware[] made = new EmulatedFirmware[1];
    this.pf = EmulatedDevice.builder(VENDOR, 0x101d)
        .name("emulated mlx5")
        .classCode(ETHERNET, 0)
        .pciExpress()
        .registerBar(
            0,
            EmulatedFirmware.BAR_SIZE,
            device -> made[0] = new EmulatedFirmware(device, vhcas, chunks, Schedulers.parallel()))
        .msix(4)
        .resettable(() -> made[0].reset())
        .build();
    this.firmware = made[0];
    for (int i = 0; i < count; i++) {
      EmulatedVhca vhca = vhcas.get(i);
      vfs.add(EmulatedDevice.builder(VENDOR, 0x101e)
          .name("emulated mlx5 VF " + i)
          .classCode(ETHERNET, 0)
          .pciExpress()
          .registerBar(0, stateSize, device -> vhca)
          .msix(2)
          .resettable(vhca::reset)
          .build());
    }
  }

  /**
   * Makes an adapter whose VFs have a state of 64 KiB each, which is moved as a whole.
   *
   * @param vfs how many VFs it has, 0 to 127
   * @return the adapter
   */
  public static EmulatedMlx5 create(int vfs) {
    return create(vfs, STATE_SIZE, false);
  }

  /**
   * Makes an adapter.
   *
   * @param vfs how many VFs it has, 0 to 127
   * @param stateSize the size of a VF's state in bytes, a power of two from 4,096 to 2^28; it is behind the VF's BAR 0
   * @param chunks whether a state can be moved in parts
   * @return the adapter
   */
  public static EmulatedMlx5 create(int vfs, int stateSize, boolean chunks) {
    if (vfs < 0 || vfs > 127) {
      throw new IllegalArgumentException(vfs + " VFs are not in 0..127");
    }
    if (stateSize < 4096 || stateSize > LARGEST_STATE || Integer.bitCount(stateSize) != 1) {
      throw new IllegalArgumentException(
          "a state has a power of two bytes from 4096 to 2^28, not " + stateSize);
    }
    return new EmulatedMlx5(vfs, stateSize, chunks);
  }

  /**
   * Returns the PF.
   *
   * @return the function, to be opened with {@code Vfio.open}
   */
  public EmulatedDevice pf() {
    return pf;
  }

  /**
   * Returns a VF. Its operator is {@link Mlx5#onPf(Mlx5Pf, int)}.
   *
   * @param index which, from 0
   * @return the function, to be opened with {@code Vfio.open}
   */
  public EmulatedDevice vf(int index) {
    return vfs.get(index);
  }

  /**
   * Has something go wrong: once, with the next command of a kind that is not already to go wrong otherwise.
   *
   * @param opcode the kind of command, as in {@code MLX5_CMD_OP_*}
   * @param fault what goes wrong
   */
  public void inject(int opcode, Fault fault) {
    firmware.inject(opcode, fault);
  }

  /** How many commands {@link Fault#held()} keeps waiting. */
  int waiting() {
    return firmware.waiting();
  }

  /** Answers the commands that {@link Fault#held()} keeps waiting. */
  public void release() {
    firmware.release();
  }

  /**
   * Tells how much drivers have taken of the firmware and not given back: protection domains, keys, event queues, doorbell pages.
   *
   * @return how many
   */
  public int objects() {
    return firmware.objects();
  }

  EmulatedFirmware firmware() {
    return firmware;
  }

  /** What goes wrong with a command. */
  public static final class Fault {
    /** Where it goes wrong. */
    enum Kind {
      HELD,
      REFUSED,
      NOT_DELIVERED,
      ANSWER,
      SIGNATURE,
      TOKEN,
      BLOCK,
      LENGTH
    }

    private final Kind kind;
    private final int status;
    private final int syndrome;
    private final Consumer<ByteBuffer> change;

    private Fault(Kind kind, int status, int syndrome, Consumer<ByteBuffer> change) {
      this.kind = kind;
      this.status = status;
      this.syndrome = syndrome;
      this.change = change;
    }

    private static Fault of(Kind kind, int value) {
      return new Fault(kind, value, 0, answer -> {});
    }

    /**
     * The command is not carried out until {@link EmulatedMlx5#release()}.
     *
     * @return the fault
     */
    public static Fault held() {
      return of(Kind.HELD, 0);
    }

    /**
     * The command is refused.
     *
     * @param status the firmware's status, 8 bits, as in {@code MLX5_CMD_STAT_*}
     * @param syndrome the firmware's syndrome
     * @return the fault
     */
    public static Fault refused(int status, int syndrome) {
      return new Fault(Kind.REFUSED, status, syndrome, answer -> {});
    }

    /**
     * The command cannot be taken.
     *
     * @param status the status, 7 bits, as in {@code MLX5_CMD_DELIVERY_STAT_*}
     * @return the fault
     */
    public static Fault notDelivered(int status) {
      return of(Kind.NOT_DELIVERED, status);
    }

    /**
     * The command is carried out, and something else is answered.
     *
     * @param change changes the answer, which is big-endian, before it is signed
     * @return the fault
     */
    public static Fault answering(Consumer<ByteBuffer> change) {
      return new Fault(Kind.ANSWER, 0, 0, change);
    }

    /**
     * The command is carried out, and the last part of the answer has a wrong signature.
     *
     * @return the fault
     */
    public static Fault wrongSignature() {
      return of(Kind.SIGNATURE, 0);
    }

    /**
     * The command is carried out, and the last part of the answer has another command's token.
     *
     * @return the fault
     */
    public static Fault wrongToken() {
      return of(Kind.TOKEN, 0);
    }

    /**
     * The command is carried out, and the last mailbox of the answer has a wrong number.
     *
     * @return the fault
     */
    public static Fault wrongBlock() {
      return of(Kind.BLOCK, 0);
    }

    /**
     * The command is carried out, and the answer says that it has another length.
     *
     * @param length the length in bytes
     * @return the fault
     */
    public static Fault wrongLength(int length) {
      return of(Kind.LENGTH, length);
    }

    Kind kind() {
      return kind;
    }

    int status() {
      return status;
    }

    int syndrome() {
      return syndrome;
    }

    void change(ByteBuffer answer) {
      change.accept(answer);
    }
  }
}
