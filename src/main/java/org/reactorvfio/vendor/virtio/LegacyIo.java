package org.reactorvfio.vendor.virtio;

/**
 * A virtio VF with an I/O BAR of the legacy interface ({@code device.as(LegacyIo.class)}). BAR 0 and the registers of config space
 * that go with it exist only here. Threads may share an instance.
 */
public final class LegacyIo {
  /** The common part with the two MSI-X registers, and {@code struct virtio_net_config} until its status: a power of two. */
  static final int SIZE = 32;

  // Virtual I/O Device 1.3, 4.1.4.10: the legacy registers.
  static final int NOTIFY = 16;
  private static final int DEVICE_CONFIG = 20;
  private static final int DEVICE_CONFIG_WITH_MSIX = 24;

  // Of config space.
  private static final int COMMAND = 0x04;
  private static final int BASE_ADDRESS = 0x10;
  private static final int COMMAND_IO = 1;
  private static final int BASE_ADDRESS_IO = 1;

  // What a transitional network device says it is.
  private static final int VENDOR_ID = 0x1af4;
  private static final int DEVICE_ID = 0x1000;
  private static final int NETWORK = 1;

  private final AdminCommands commands;
  private final NotifyArea notify;

  // Guarded by the monitor.
  private int command;
  private int baseAddress;
  private boolean msix;

  LegacyIo(AdminCommands commands, NotifyArea notify) {
    this.commands = commands;
    this.notify = notify;
  }

  AdminCommands commands() {
    return commands;
  }

  NotifyArea notifyArea() {
    return notify;
  }

  /** Where queue notifications are written to: a BAR of the VF's own and an offset in it. */
  record NotifyArea(int bar, long offset) {}

  /**
   * Returns the size of the BAR.
   *
   * @return the size in bytes
   */
  public int size() {
    return SIZE;
  }

  /**
   * Tells whether the BAR answers: whether I/O decode is on in the command register.
   *
   * @return true if so
   */
  public synchronized boolean enabled() {
    return (command & COMMAND_IO) != 0;
  }

  /**
   * Tells where the device's own configuration begins in the BAR: behind the registers for MSI-X if that is enabled, else in their
   * place.
   *
   * @return the offset in bytes
   */
  public synchronized int deviceConfiguration() {
    return msix ? DEVICE_CONFIG_WITH_MSIX : DEVICE_CONFIG;
  }

  synchronized void msixEnabled(boolean enabled) {
    msix = enabled;
  }

  synchronized void wasReset() {
    command = 0;
  }

  /** What a byte of config space reads as, by what it is in the core's. */
  synchronized byte configByte(long offset, byte core) {
    return switch ((int) offset) {
      case 0x02 -> (byte) DEVICE_ID;
      case 0x03 -> (byte) (DEVICE_ID >> 8);
      case COMMAND -> (byte) (core | (command & COMMAND_IO));
      case 0x08 -> 0; // the revision of a transitional device
      case BASE_ADDRESS -> (byte) ((baseAddress & -SIZE) | BASE_ADDRESS_IO);
      case BASE_ADDRESS + 1 -> (byte) (baseAddress >> 8);
      case BASE_ADDRESS + 2 -> (byte) (baseAddress >> 16);
      case BASE_ADDRESS + 3 -> (byte) (baseAddress >> 24);
      case 0x2c -> (byte) VENDOR_ID;
      case 0x2d -> (byte) (VENDOR_ID >> 8);
      case 0x2e -> (byte) NETWORK;
      case 0x2f -> 0;
      default -> core;
    };
  }

  /** A byte of config space was written; the core is given it, too. */
  synchronized void configWritten(long offset, byte value) {
    int at = (int) offset;
    if (at == COMMAND || at == COMMAND + 1) {
      command = replace(command, at - COMMAND, value);
    } else if (at >= BASE_ADDRESS && at < BASE_ADDRESS + 4) {
      baseAddress = replace(baseAddress, at - BASE_ADDRESS, value);
    }
  }

  private static int replace(int register, int index, byte value) {
    int shift = 8 * index;
    return (register & ~(0xff << shift)) | ((value & 0xff) << shift);
  }

  @Override
  public String toString() {
    return String.format("LegacyIo[%d bytes, notify BAR%d+0x%x]", SIZE, notify.bar, notify.offset);
  }
}
