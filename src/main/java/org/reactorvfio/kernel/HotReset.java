package org.reactorvfio.kernel;

import static org.reactorvfio.linux.VfioUapi.*;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.reactorvfio.PciAddress;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.HotResetInfo;
import org.reactorvfio.operations.HotResetInfo.Affected;

/**
 * The reset of a device's bus or slot. Over groups, the caller shows the kernel the groups it owns; over a cdev, the kernel
 * looks itself at what is bound to the device's iommufd.
 */
final class HotReset {
  static final String INFO = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO";
  static final String RESET = "VFIO_DEVICE_PCI_HOT_RESET";

  private static final int ATTEMPTS = 8;
  private static final int LARGEST = 256 * 8;

  private final String name;
  private final Fd device;
  private final Supplier<Map<Integer, Fd>> groups;

  HotReset(String name, Fd device, Supplier<Map<Integer, Fd>> groups) {
    this.name = name;
    this.device = device;
    this.groups = groups;
  }

  HotResetInfo info() throws LinuxException {
    Map<Integer, Fd> owned = groups.get();
    try {
      return info(owned);
    } finally {
      owned.values().forEach(Fd::close);
    }
  }

  /** Resets everything, if all of it is ours, and tells what that was. */
  HotResetInfo reset() throws LinuxException {
    Map<Integer, Fd> owned = groups.get();
    try {
      HotResetInfo info = info(owned);
      if (!info.notOwned().isEmpty()) {
        throw KernelErrors.notOwned(name, info.notOwned());
      }
      // What is owned is in a group of ours, or, over a cdev, in none that is told.
      Set<Integer> proof = info.affected().stream()
          .map(function -> owned.get(function.group()))
          .filter(Objects::nonNull)
          .map(Fd::number)
          .collect(Collectors.toCollection(LinkedHashSet::new));
      int size = PCI_HOT_RESET__SIZE + 4 * proof.size();
      NativeBuffer request = NativeBuffer.allocate(size);
      request.bytes().putInt(PCI_HOT_RESET__ARGSZ, size).putInt(PCI_HOT_RESET__COUNT, proof.size());
      request.bytes().position(PCI_HOT_RESET__SIZE);
      proof.forEach(request.bytes()::putInt);
      device.ioctl(RESET, VFIO_DEVICE_PCI_HOT_RESET, request);
      return info;
    } finally {
      owned.values().forEach(Fd::close);
    }
  }

  private HotResetInfo info(Map<Integer, Fd> owned) throws LinuxException {
    int room = 8;
    for (int attempt = 0; ; attempt++) {
      int size = PCI_HOT_RESET_INFO__SIZE + room * PCI_DEPENDENT_DEVICE__SIZE;
      NativeBuffer answer = NativeBuffer.allocate(size);
      answer.bytes().putInt(PCI_HOT_RESET_INFO__ARGSZ, size);
      try {
        device.ioctl(INFO, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, answer);
        return decode(answer.bytes(), owned.keySet());
      } catch (LinuxException e) {
        room = answer.bytes().getInt(PCI_HOT_RESET_INFO__COUNT);
        if (e.errno() != Errno.ENOSPC || attempt == ATTEMPTS || room < 0 || room > LARGEST) {
          throw e;
        }
      }
    }
  }

  /** Takes the answer apart; whoever is in one of these groups is ours. */
  static HotResetInfo decode(ByteBuffer answer, Set<Integer> owned) throws LinuxException {
    boolean ids = (answer.getInt(PCI_HOT_RESET_INFO__FLAGS) & VFIO_PCI_HOT_RESET_FLAG_DEV_ID) != 0;
    List<Affected> affected = new ArrayList<>();
    int count = answer.getInt(PCI_HOT_RESET_INFO__COUNT);
    int room = (answer.capacity() - PCI_HOT_RESET_INFO__SIZE) / PCI_DEPENDENT_DEVICE__SIZE;
    if (count < 0 || count > room) {
      throw KernelErrors.malformed(
          INFO,
          "it tells of " + Integer.toUnsignedString(count) + " devices in the room of " + room);
    }
    for (int i = 0; i < count; i++) {
      int at = PCI_HOT_RESET_INFO__SIZE + i * PCI_DEPENDENT_DEVICE__SIZE;
      int id = answer.getInt(at + PCI_DEPENDENT_DEVICE__GROUP_ID);
      int devfn = Byte.toUnsignedInt(answer.get(at + PCI_DEPENDENT_DEVICE__DEVFN));
      PciAddress address = new PciAddress(
          Short.toUnsignedInt(answer.getShort(at + PCI_DEPENDENT_DEVICE__SEGMENT)),
          Byte.toUnsignedInt(answer.get(at + PCI_DEPENDENT_DEVICE__BUS)),
          devfn >> 3,
          devfn & 7);
      boolean ours = ids ? id != VFIO_PCI_DEVID_NOT_OWNED : owned.contains(id);
      affected.add(new Affected(address.toString(), ids ? -1 : id, ours));
    }
    return new HotResetInfo(affected);
  }
}
