package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.UUID;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.NotOwnedException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfTokenException;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.VfioOptions;
import org.reactorvfio.VfioOptions.Backend;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.discovery.PciFunction;
import org.reactorvfio.operations.HotResetInfo.Affected;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** A PF, its VFs, and the token between their owners: every case of the kernel's vfio_pci_sriov_uapi_test. */
@Tag("lab")
@Timeout(180)
class SriovLabTest {
  private static final UUID TOKEN = UUID.fromString("52ac9bff-3a88-4fbd-901a-0d767c3b6c97");
  private static final UUID OTHER = UUID.fromString("88594674-90a0-47a9-aea8-9d9b352ac08a");

  private PciAddress pf;

  @BeforeEach
  void findPf() {
    Assumptions.assumeTrue(System.getenv("VFIO_LAB_IGB") != null, "this QEMU has no igb");
    pf = LabDevice.address("VFIO_LAB_IGB");
  }

  @AfterEach
  void removeVfs() {
    if (pf != null) {
      LabDevice.sysfs("devices/" + pf + "/sriov_numvfs", "0");
    }
  }

  private static VfioOptions options(Backend backend) {
    return VfioOptions.defaults().withBackend(backend);
  }

  private static VfioDevice open(PciAddress address, VfioOptions options) {
    return LabDevice.get(Vfio.open(address, options));
  }

  private static void refused(Mono<VfioDevice> opening, String word) {
    StepVerifier.create(opening)
        .expectErrorSatisfies(e ->
            assertThat(e).isExactlyInstanceOf(VfTokenException.class).hasMessageContaining(word))
        .verify(LabDevice.LONG);
  }

  /** Makes a VF, which vfio-pci gets by itself, as its PF has a driver of VFIO. */
  private PciAddress vf() {
    LabDevice.sysfs("devices/" + pf + "/sriov_numvfs", "1");
    try {
      Path link = Path.of("/sys/bus/pci/devices", pf.toString(), "virtfn0");
      PciAddress vf = PciAddress.parse(link.toRealPath().getFileName().toString());
      LabDevice.eventually(() -> Files.exists(link.resolve("driver")), "the VF gets its driver");
      return vf;
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aVfIsOpenedWithTheTokenOfItsPf(Backend backend) {
    VfioDevice owner = open(pf, options(backend).withVfToken(TOKEN));
    try {
      PciAddress vf = vf();
      refused(Vfio.open(vf, options(backend)), "needs their VF token");
      refused(Vfio.open(vf, options(backend).withVfToken(OTHER)), "not the one");
      VfioDevice guest = open(vf, options(backend).withVfToken(TOKEN));
      assertThat(LabDevice.get(guest.config().header()).vendorId()).isEqualTo(0x8086);
      LabDevice.run(guest.close());
    } finally {
      LabDevice.run(owner.close());
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void thePfsOwnerSetsTheTokenLater(Backend backend) {
    VfioDevice owner = open(pf, options(backend));
    try {
      PciAddress vf = vf();
      refused(Vfio.open(vf, options(backend).withVfToken(TOKEN)), "not the one");
      LabDevice.run(owner.setVfToken(TOKEN));
      VfioDevice guest = open(vf, options(backend).withVfToken(TOKEN));
      // The token can be changed while a VF is open; it counts for those that are opened next.
      LabDevice.run(owner.setVfToken(OTHER));
      LabDevice.run(guest.close());
      refused(Vfio.open(vf, options(backend).withVfToken(TOKEN)), "not the one");
      refused(Vfio.open(vf, options(backend)), "needs their VF token");
      LabDevice.run(open(vf, options(backend).withVfToken(OTHER)).close());
    } finally {
      LabDevice.run(owner.close());
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void theTokenOutlivesThePfsOwner(Backend backend) {
    VfioDevice owner = open(pf, options(backend).withVfToken(TOKEN));
    PciAddress vf = vf();
    LabDevice.run(owner.close());
    refused(Vfio.open(vf, options(backend)), "needs their VF token");
    refused(Vfio.open(vf, options(backend).withVfToken(OTHER)), "not the one");
    LabDevice.run(open(vf, options(backend).withVfToken(TOKEN)).close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aVfWithoutItsTokenIsFoundOutBeforehand(Backend backend) {
    VfioDevice owner = open(pf, options(backend).withVfToken(TOKEN));
    try {
      PciAddress vf = vf();
      PciFunction function = LabDevice.get(Vfio.examine(vf, Needs.LITTLE));
      assertThat(function.canOpen()).isFalse();
      assertThat(function.physicalFunction()).contains(pf);
      VfioException foretold = function.findings().get(0).failure();
      StepVerifier.create(Vfio.open(vf, options(backend)))
          .expectErrorSatisfies(e -> assertThat(e)
              .isInstanceOfSatisfying(VfTokenException.class, failure -> {
                assertThat(failure.problem()).isEqualTo(foretold.problem());
                assertThat(failure.remedy()).isEqualTo(foretold.remedy());
              }))
          .verify(LabDevice.LONG);
      Needs token = new Needs(4 << 20, 16, true);
      assertThat(LabDevice.get(Vfio.examine(vf, token)).findings()).isEmpty();
      LabDevice.run(open(vf, options(backend).withVfToken(TOKEN)).close());
    } finally {
      LabDevice.run(owner.close());
    }
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void thePfIsOpenedAgainWithTheTokenWhileAVfIsInUse(Backend backend) {
    VfioDevice owner = open(pf, options(backend).withVfToken(TOKEN));
    PciAddress vf = vf();
    VfioDevice guest = open(vf, options(backend).withVfToken(TOKEN));
    LabDevice.run(owner.close());
    try {
      refused(Vfio.open(pf, options(backend)), "needs their VF token");
      refused(Vfio.open(pf, options(backend).withVfToken(OTHER)), "not the one");
      LabDevice.run(open(pf, options(backend).withVfToken(TOKEN)).close());
    } finally {
      LabDevice.run(guest.close());
    }
    LabDevice.run(open(pf, options(backend).withVfToken(OTHER)).close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aTokenOfAFunctionThatSharesNothing(Backend backend) {
    refused(
        Vfio.open(LabDevice.address("VFIO_LAB_EDU"), options(backend).withVfToken(TOKEN)),
        "leave the token out");
    LabDevice.run(open(LabDevice.address("VFIO_LAB_EDU"), options(backend)).close());
  }

  @ParameterizedTest
  @MethodSource("org.reactorvfio.lab.LabDevice#backends")
  void aHotResetThatReachesAVfOfSomebodyElseIsRefused(Backend backend) {
    VfioDevice owner = open(pf, options(backend).withVfToken(TOKEN));
    try {
      String vf = vf().toString();
      List<String> notOurs = LabDevice.get(owner.hotResetInfo()).notOwned().stream()
          .map(Affected::name)
          .toList();
      if (notOurs.isEmpty()) {
        // The stock kernel has a slot of its own for the PF, which the VFs are not in.
        LabDevice.run(owner.hotReset());
        return;
      }
      assertThat(notOurs).containsExactly(vf);
      StepVerifier.create(owner.hotReset())
          .expectErrorSatisfies(
              e -> assertThat(e).isInstanceOf(NotOwnedException.class).hasMessageContaining(vf))
          .verify(LabDevice.LONG);
    } finally {
      LabDevice.run(owner.close());
    }
  }
}
