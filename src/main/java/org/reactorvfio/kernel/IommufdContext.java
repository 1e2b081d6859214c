package org.reactorvfio.kernel;

import static org.reactorvfio.linux.IommufdUapi.*;

import org.jspecify.annotations.Nullable;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.NativeBuffer;
import org.reactorvfio.operations.AddressSpace;

/** The iommufd that address spaces beside each other are in: open while one of them is in use. */
final class IommufdContext implements AddressSpace.Part {
  private @Nullable Fd fd;
  private int users;

  private IommufdContext() {}

  static IommufdContext of(AddressSpace space) {
    return space.origin().part(IommufdContext.class, IommufdContext::new);
  }

  /**
   * Gives the iommufd, and opens it if it is not.
   *
   * @param opener opens it; whatever it opens is owned here
   */
  synchronized Fd acquire(String device, AddressSpace space, SharedSpace.Maker<Fd> opener)
      throws LinuxException {
    Fd open = fd;
    if (open == null) {
      open = opener.make();
      if (space.processAccounting()) {
        try {
          option(open, IOMMU_OPTION_RLIMIT_MODE, 0, 1);
        } catch (LinuxException e) {
          open.close();
          throw e.errno() == Errno.EPERM ? mayNotAccount(device, e) : KernelErrors.of(device, e);
        }
      }
      fd = open;
    }
    users++;
    return open;
  }

  private static PermissionDeniedException mayNotAccount(String device, LinuxException e) {
    return new PermissionDeniedException(
        e.call(),
        device,
        e.errno(),
        "this process may not have pinned memory counted by process",
        "give it CAP_SYS_RESOURCE, or leave out AddressSpace.Builder.accountToProcess()",
        e);
  }

  /**
   * Checks that an iommufd which somebody passed on is the one that is open here, if one is: the numbers of its objects mean something
   * else in another.
   */
  synchronized void require(String device, int number) throws LinuxException {
    Fd open = fd;
    if (open == null) {
      return;
    }
    Fd offered = Fd.duplicate(number);
    try {
      if (!same(open, offered)) {
        throw SharedSpace.conflict(
            device,
            0,
            "the iommufd that was passed on is not the one that the address space is in",
            "pass on devices that are bound to one iommufd, or open them into different address spaces",
            null);
      }
    } finally {
      offered.close();
    }
  }

  synchronized void release() {
    if (--users == 0 && fd != null) {
      fd.close();
      fd = null;
    }
  }

  /** Sets an option of an iommufd, or of one of its objects. */
  static void option(Fd iommufd, int option, int object, long value) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(OPTION__SIZE);
    request
        .bytes()
        .putInt(0, OPTION__SIZE)
        .putInt(OPTION__OPTION_ID, option)
        .putShort(OPTION__OP, (short) IOMMU_OPTION_OP_SET)
        .putInt(OPTION__OBJECT_ID, object)
        .putLong(OPTION__VAL64, value);
    iommufd.ioctl("IOMMU_OPTION", IOMMU_OPTION, request);
  }

  /** Reads an option of an iommufd, or of one of its objects. */
  static long option(Fd iommufd, int option, int object) throws LinuxException {
    NativeBuffer request = NativeBuffer.allocate(OPTION__SIZE);
    request
        .bytes()
        .putInt(0, OPTION__SIZE)
        .putInt(OPTION__OPTION_ID, option)
        .putShort(OPTION__OP, (short) IOMMU_OPTION_OP_GET)
        .putInt(OPTION__OBJECT_ID, object);
    iommufd.ioctl("IOMMU_OPTION", IOMMU_OPTION, request);
    return request.bytes().getLong(OPTION__VAL64);
  }

  /**
   * Whether two descriptors are of one iommufd: an object that comes and goes through one does so through the other. Object numbers
   * alone do not tell, since each iommufd counts on its own.
   */
  static boolean same(Fd one, Fd other) throws LinuxException {
    int id = IommufdAddressSpace.allocateId(one);
    boolean seen = exists(other, id);
    IommufdAddressSpace.destroy(one, id);
    return seen && !exists(other, id);
  }

  private static boolean exists(Fd iommufd, int ioas) throws LinuxException {
    try {
      option(iommufd, IOMMU_OPTION_HUGE_PAGES, ioas);
      return true;
    } catch (LinuxException e) {
      if (e.errno() == Errno.ENOENT) {
        return false;
      }
      throw e;
    }
  }
}
