package org.reactorvfio.kernel;

import static org.reactorvfio.linux.Errno.*;

import java.util.List;
import java.util.stream.Collectors;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.MappingLimitException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.NotOwnedException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Syscalls;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.HotResetInfo;

/** What an error number of an open device means. Those of opening have an explanation of their own: {@link Diagnosis}. */
public final class KernelErrors {
  private KernelErrors() {}

  /** The failure of an operation on an open device. */
  public static VfioException of(String device, LinuxException e) {
    String call = e.call();
    int errno = e.errno();
    if (errno == EINVAL && call.equals("VFIO_DEVICE_BIND_IOMMUFD")) {
      // vfio_df_device_first_open() refuses so what is open by another descriptor.
      return new DeviceBusyException(
          call, device, errno, "the device is open already", "end its other user", e);
    }
    return switch (errno) {
      case ENODEV ->
        new DeviceLostException(
            call,
            device,
            errno,
            "the device has gone",
            "close it; open it again when it is back",
            e);
      case EIO ->
        new RegionUnavailableException(
            call,
            device,
            errno,
            "the region cannot be accessed now",
            "enable memory decode in the command register, or wait for the end of the reset or sleep",
            e);
      case ENOTTY, EOPNOTSUPP ->
        new NotSupportedException(
            call,
            device,
            errno,
            "the device or this kernel does not offer it",
            "see the device's info first",
            e);
      case EMFILE, ENFILE ->
        new DescriptorLimitException(
            call,
            device,
            errno,
            "no file descriptors are left",
            "raise RLIMIT_NOFILE (ulimit -n)",
            e);
      case EBUSY ->
        new DeviceBusyException(
            call, device, errno, "it is in use", "another user must let go of it first", e);
      case EACCES, EPERM ->
        new PermissionDeniedException(
            call,
            device,
            errno,
            Syscalls.describe(errno),
            "run as a user who may, or with the capability it needs",
            e);
      default -> new VfioException(call, device, errno, Syscalls.describe(errno), advice(errno), e);
    };
  }

  /** What the kernel, or what stands for it, has answered cannot be. */
  static LinuxException malformed(String call, String problem) {
    return new LinuxException(call + " (" + problem + ")", EPROTO);
  }

  private static String advice(int errno) {
    return switch (errno) {
      case EINVAL ->
        "check the arguments against the device's info, and that what it needs is enabled";
      case EEXIST -> "unmap what overlaps first, or choose another address";
      case EFAULT -> "the memory must be mapped, and writable if the device writes it";
      case ENOSPC -> "unmap something: the number of mappings is limited";
      case EBADF -> "a descriptor was closed while it was in use";
      case EPROTO -> "the answer cannot be: the kernel, or what stands for it, is broken";
      default -> "see the kernel's log";
    };
  }

  /** The device does not say that it can be reset, and cannot. */
  static NotSupportedException noReset(String device, LinuxException e) {
    return new NotSupportedException(
        e.call(),
        device,
        e.errno(),
        "the device has no reset of its own",
        "close and open it instead",
        e);
  }

  /** ENODEV where it does not mean that the device has gone: there is no reset of its bus or slot. */
  public static NotSupportedException noSlotReset(String device, LinuxException e) {
    return new NotSupportedException(
        e.call(),
        device,
        e.errno(),
        "neither the device's bus nor its slot can be reset",
        "reset the function alone",
        e);
  }

  /** A hot reset would reach functions that are in other hands. */
  public static NotOwnedException notOwned(String device, List<HotResetInfo.Affected> others) {
    String names = others.stream()
        .map(other -> other.group() < 0
            ? other.name()
            : other.name() + " (IOMMU group " + other.group() + ")")
        .collect(Collectors.joining(", "));
    return new NotOwnedException(
        "VFIO_DEVICE_PCI_HOT_RESET",
        device,
        0,
        "the reset would reach what is not open here: " + names,
        "open those as well, from this process and the same way, or reset the function alone");
  }

  /** ENODEV where it does not mean that the device has gone: there is no such registration to take away. */
  public static VfioException noIoEventFd(String device, LinuxException e) {
    return new VfioException(
        e.call(),
        device,
        e.errno(),
        "no eventfd writes that value there",
        "name the register, width and value that were registered",
        e);
  }

  /** The device lacks a feature, or what was asked of it. */
  public static NotSupportedException noFeature(String device, int feature, LinuxException e) {
    return new NotSupportedException(
        e.call(),
        device,
        e.errno(),
        "the device does not have " + Features.name(feature) + ", or not so",
        "probe for it first",
        e);
  }

  /** The failure of a DMA mapping, which is explained best with the limit that it ran into. */
  public static VfioException ofMap(String device, long size, LinuxException e) {
    if (e.errno() == ENOSPC) {
      return new MappingLimitException(
          e.call(),
          device,
          e.errno(),
          "the address space has as many mappings as it may have",
          "map fewer and larger pieces (DmaSpace.pool), or raise vfio_iommu_type1.dma_entry_limit"
              + " (/sys/module/vfio_iommu_type1/parameters/dma_entry_limit), which holds for containers opened later",
          e);
    }
    if (e.errno() != ENOMEM) {
      return of(device, e);
    }
    long limit = Syscalls.softLimit(Syscalls.RLIMIT_MEMLOCK);
    return new MemoryLockLimitException(
        e.call(),
        device,
        e.errno(),
        size + " bytes cannot be pinned; RLIMIT_MEMLOCK is "
            + (limit == Long.MAX_VALUE ? "unlimited" : limit + " bytes"),
        raiseMemoryLock(limit == Long.MAX_VALUE ? size : limit + size),
        e);
  }

  /**
   * As {@link #ofMap}, for a process that may lock as much memory as it likes: if pinning lacks memory, it is not for the limit.
   */
  static VfioException ofUnlimitedMap(String device, long size, LinuxException e) {
    return e.errno() == ENOMEM
        ? new VfioException(
            e.call(),
            device,
            e.errno(),
            "the kernel has no memory for pinning " + size + " bytes",
            "map less, or free memory: of the machine, or of the control group that the process is in (memory.max)",
            e)
        : ofMap(device, size, e);
  }

  /** How more memory can be locked; takes effect on this process at once. */
  static String raiseMemoryLock(long bytes) {
    return "raise it to what all mappings need together: prlimit --pid "
        + ProcessHandle.current().pid()
        + " --memlock=" + bytes + ":" + bytes
        + "; for good, ulimit -l or LimitMEMLOCK= of a systemd unit; or give CAP_IPC_LOCK";
  }

  /** How more descriptors can be had; takes effect on this process at once. */
  static String raiseDescriptors(long count) {
    return "raise RLIMIT_NOFILE: prlimit --pid " + ProcessHandle.current().pid() + " --nofile="
        + count + ":" + count + "; for good, ulimit -n or LimitNOFILE= of a systemd unit";
  }
}
