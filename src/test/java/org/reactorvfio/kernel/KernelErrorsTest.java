package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.DeviceBusyException;
import org.reactorvfio.DeviceLostException;
import org.reactorvfio.MappingLimitException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.NotSupportedException;
import org.reactorvfio.PermissionDeniedException;
import org.reactorvfio.RegionUnavailableException;
import org.reactorvfio.VfioException;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;

/** What each error number of an open device becomes. */
class KernelErrorsTest {
  static Stream<Arguments> errors() {
    return Stream.of(
        arguments(Errno.ENODEV, DeviceLostException.class),
        arguments(Errno.EIO, RegionUnavailableException.class),
        arguments(Errno.ENOTTY, NotSupportedException.class),
        arguments(Errno.EOPNOTSUPP, NotSupportedException.class),
        arguments(Errno.EMFILE, DescriptorLimitException.class),
        arguments(Errno.ENFILE, DescriptorLimitException.class),
        arguments(Errno.EBUSY, DeviceBusyException.class),
        arguments(Errno.EACCES, PermissionDeniedException.class),
        arguments(Errno.EPERM, PermissionDeniedException.class),
        arguments(Errno.EINVAL, VfioException.class),
        arguments(Errno.EEXIST, VfioException.class),
        arguments(Errno.EFAULT, VfioException.class),
        arguments(Errno.ENOSPC, VfioException.class),
        arguments(Errno.EBADF, VfioException.class),
        arguments(Errno.ENOMEM, VfioException.class));
  }

  @ParameterizedTest
  @MethodSource("errors")
  void anErrorNumberHasItsType(int errno, Class<?> type) {
    LinuxException cause = new LinuxException("VFIO_DEVICE_SET_IRQS", errno);
    VfioException e = KernelErrors.of("0000:01:00.0", cause);
    assertThat(e)
        .isExactlyInstanceOf(type)
        .hasCause(cause)
        .hasMessageContainingAll("VFIO_DEVICE_SET_IRQS", "0000:01:00.0", "(errno " + errno + ")");
    assertThat(e.operation()).isEqualTo("VFIO_DEVICE_SET_IRQS");
    assertThat(e.device()).isEqualTo("0000:01:00.0");
    assertThat(e.errno()).isEqualTo(errno);
    assertThat(e.remedy()).isNotBlank();
  }

  @Test
  void bindingWhatIsOpenAnswersThatItIsBusy() {
    assertThat(KernelErrors.of("d", new LinuxException("VFIO_DEVICE_BIND_IOMMUFD", Errno.EINVAL)))
        .isInstanceOf(DeviceBusyException.class);
  }

  @Test
  void noMemoryForAMappingNamesTheLimit() {
    VfioException e =
        KernelErrors.ofMap("d", 1 << 20, new LinuxException("VFIO_IOMMU_MAP_DMA", Errno.ENOMEM));
    assertThat(e)
        .isInstanceOf(MemoryLockLimitException.class)
        .hasMessageContainingAll("1048576 bytes", "RLIMIT_MEMLOCK is ");
    assertThat(e.remedy()).contains("ulimit -l", "CAP_IPC_LOCK");
  }

  @Test
  void noMemoryForAMappingIsNotTheLimitsFaultWhereThereIsNone() {
    LinuxException e = new LinuxException("VFIO_IOMMU_MAP_DMA", Errno.ENOMEM);
    assertThat(KernelErrors.ofUnlimitedMap("d", 1 << 20, e))
        .isExactlyInstanceOf(VfioException.class)
        .hasMessageContainingAll("1048576 bytes", "memory.max", "errno 12");
    assertThat(KernelErrors.ofUnlimitedMap("d", 4096, new LinuxException("map", Errno.ENOSPC)))
        .isInstanceOf(MappingLimitException.class);
  }

  @Test
  void tooManyMappingsNameTheParameter() {
    assertThat(
            KernelErrors.ofMap("d", 4096, new LinuxException("VFIO_IOMMU_MAP_DMA", Errno.ENOSPC)))
        .isInstanceOf(MappingLimitException.class)
        .hasMessageContaining("vfio_iommu_type1.dma_entry_limit");
  }

  @Test
  void otherFailuresOfAMappingAreWhatTheyAre() {
    assertThat(
            KernelErrors.ofMap("d", 4096, new LinuxException("VFIO_IOMMU_MAP_DMA", Errno.EEXIST)))
        .isExactlyInstanceOf(VfioException.class)
        .hasMessageContaining("unmap what overlaps");
  }
}
