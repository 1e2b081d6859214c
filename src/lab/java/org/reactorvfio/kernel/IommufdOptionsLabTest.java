package org.reactorvfio.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.reactorvfio.linux.IommufdUapi;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.AddressSpace;

/** What an address space is made with, asked for from the kernel: that it holds shows only in limits and page tables. */
@Tag("lab")
@Timeout(60)
class IommufdOptionsLabTest {
  @Test
  void areWhatTheAddressSpaceSays() throws LinuxException {
    assumeTrue("iommufd".equals(System.getenv("VFIO_LAB_GUEST")), "this guest has no iommufd");
    AddressSpace first =
        AddressSpace.builder().accountToProcess().hugePages(false).build();
    options(first, 1, 0);
    AddressSpace second = AddressSpace.builder().beside(first).build();
    options(second, 1, 1);
    options(AddressSpace.create(), 0, 1);
  }

  private static void options(AddressSpace space, long accounting, long hugePages)
      throws LinuxException {
    IommufdAddressSpace ioas =
        IommufdAddressSpace.make("nobody", space, () -> Fd.open("/dev/iommu"));
    try {
      Fd iommufd = ioas.iommufd();
      assertThat(IommufdContext.option(iommufd, IommufdUapi.IOMMU_OPTION_RLIMIT_MODE, 0))
          .isEqualTo(accounting);
      assertThat(IommufdContext.option(iommufd, IommufdUapi.IOMMU_OPTION_HUGE_PAGES, ioas.id()))
          .isEqualTo(hugePages);
    } finally {
      ioas.close();
    }
  }
}
