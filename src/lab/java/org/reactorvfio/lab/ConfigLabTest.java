package org.reactorvfio.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.PciAddress;
import org.reactorvfio.Vfio;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.region.ConfigHeader;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.MsiCapability;
import org.reactorvfio.region.MsixCapability;
import org.reactorvfio.region.PciCapability;
import org.reactorvfio.region.PciExpressCapability;
import org.reactorvfio.region.PowerManagementCapability;
import org.reactorvfio.region.SriovCapability;
import reactor.core.publisher.Mono;
import reactor.test.StepVerifier;

/** Configuration space through VFIO against what the kernel's PCI core sees in the same functions. */
@Tag("lab")
@Timeout(120)
class ConfigLabTest {
  private static final Duration LONG = Duration.ofSeconds(30);

  private static VfioDevice open(String variable) {
    return get(Vfio.open(PciAddress.parse(address(variable))));
  }

  private static String address(String variable) {
    String address = System.getenv(variable);
    assumeTrue(address != null, "this QEMU has no such device");
    return address;
  }

  private static Path sysfs(String variable) {
    return Path.of("/sys/bus/pci/devices", address(variable));
  }

  private static ByteBuffer physical(String variable) throws IOException {
    return ByteBuffer.wrap(Files.readAllBytes(sysfs(variable).resolve("config")))
        .order(ByteOrder.LITTLE_ENDIAN);
  }

  private static <T> T get(Mono<T> mono) {
    return Objects.requireNonNull(mono.block(LONG));
  }

  private static void run(Mono<Void> mono) {
    StepVerifier.create(mono).expectComplete().verify(LONG);
  }

  private static int u16(ByteBuffer config, int at) {
    return Short.toUnsignedInt(config.getShort(at));
  }

  private static int number(String variable, String attribute) throws IOException {
    return Integer.decode(Files.readString(sysfs(variable).resolve(attribute)).strip());
  }

  /** Id to offset, of either list. */
  private static Map<Integer, Integer> list(ByteBuffer config, boolean extended) {
    Map<Integer, Integer> all = new LinkedHashMap<>();
    if (extended) {
      for (int at = config.limit() > 256 ? 256 : 0;
          at != 0 && config.getInt(at) != 0;
          at = config.getInt(at) >>> 20) {
        all.put(u16(config, at), at);
      }
    } else {
      for (int at = config.get(0x34) & 0xff; at != 0; at = config.get(at + 1) & 0xff) {
        all.put(config.get(at) & 0xff, at);
      }
    }
    return all;
  }

  @ParameterizedTest
  @ValueSource(strings = {"VFIO_LAB_EDU", "VFIO_LAB_NVME", "VFIO_LAB_E1000E", "VFIO_LAB_IGB"})
  void showsTheHeaderThatSysfsShows(String variable) throws IOException {
    VfioDevice device = open(variable);
    ConfigHeader header = get(device.config().header());

    assertThat(header.vendorId()).isEqualTo(number(variable, "vendor"));
    assertThat(header.deviceId()).isEqualTo(number(variable, "device"));
    assertThat(header.classCode()).isEqualTo(number(variable, "class"));
    assertThat(header.revision()).isEqualTo(number(variable, "revision"));
    assertThat(header.subsystemVendorId()).isEqualTo(number(variable, "subsystem_vendor"));
    assertThat(header.subsystemId()).isEqualTo(number(variable, "subsystem_device"));
    assertThat(header.headerType()).isZero();
    assertThat(header.interruptPin()).isEqualTo(physical(variable).get(0x3d));
    assertThat(header.capabilitiesPointer()).isEqualTo(physical(variable).get(0x34) & 0xff);
    assertThat(header.command() & ConfigSpace.COMMAND_MEMORY).isNotZero();
    assertThat(header.command() & ConfigSpace.COMMAND_BUS_MASTER).isZero();
    header
        .baseAddresses()
        .forEach(bar -> assertThat(device.bar(bar.index()).info().size())
            .as("size of %s", bar)
            .isPositive());
    run(device.close());
  }

  @ParameterizedTest
  @ValueSource(strings = {"VFIO_LAB_EDU", "VFIO_LAB_NVME", "VFIO_LAB_E1000E", "VFIO_LAB_IGB"})
  void findsTheCapabilitiesWhereTheDeviceHasThem(String variable) throws IOException {
    VfioDevice device = open(variable);
    ByteBuffer physical = physical(variable);
    List<PciCapability> capabilities = get(device.config().capabilities());
    Map<Integer, Integer> standard = offsets(capabilities, false);

    assertThat(get(device.config().size())).isEqualTo(physical.limit());
    // VFIO hides what it does not know; all of these are known to it.
    assertThat(standard).isEqualTo(list(physical, false));
    assertThat(list(physical, true).entrySet())
        .containsAll(offsets(capabilities, true).entrySet());
    run(device.close());
  }

  private static Map<Integer, Integer> offsets(List<PciCapability> all, boolean extended) {
    return all.stream()
        .filter(capability -> capability.extended() == extended)
        .collect(Collectors.toMap(PciCapability::id, PciCapability::offset));
  }

  @ParameterizedTest
  @ValueSource(strings = {"VFIO_LAB_EDU", "VFIO_LAB_E1000E", "VFIO_LAB_IGB"})
  void decodesMsi(String variable) throws IOException {
    VfioDevice device = open(variable);
    MsiCapability msi = get(device.config().capability(MsiCapability.class));
    int control = u16(physical(variable), msi.offset() + 2);

    assertThat(msi.vectorsCapable()).isEqualTo(1 << (control >> 1 & 7));
    assertThat(msi.vectorsCapable())
        .isEqualTo(get(device.operations().irqInfo(1)).count());
    assertThat(msi.wideAddress()).isEqualTo((control & 0x80) != 0);
    assertThat(msi.perVectorMasking()).isEqualTo((control & 0x100) != 0);
    assertThat(msi.enabled()).isFalse();
    run(device.close());
  }

  @ParameterizedTest
  @ValueSource(strings = {"VFIO_LAB_NVME", "VFIO_LAB_E1000E", "VFIO_LAB_IGB"})
  void decodesMsix(String variable) throws IOException {
    VfioDevice device = open(variable);
    MsixCapability msix = get(device.config().capability(MsixCapability.class));
    ByteBuffer physical = physical(variable);

    assertThat(msix.tableSize()).isEqualTo(get(device.operations().irqInfo(2)).count());
    assertThat((int) msix.tableOffset() | msix.tableBar())
        .isEqualTo(physical.getInt(msix.offset() + 4));
    assertThat((int) msix.pendingOffset() | msix.pendingBar())
        .isEqualTo(physical.getInt(msix.offset() + 8));
    assertThat(device.bar(msix.tableBar()).info().size())
        .isGreaterThanOrEqualTo(msix.tableOffset() + 16L * msix.tableSize());
    run(device.close());
  }

  @ParameterizedTest
  @ValueSource(strings = {"VFIO_LAB_NVME", "VFIO_LAB_E1000E", "VFIO_LAB_IGB"})
  void decodesPciExpressAndPowerManagement(String variable) throws IOException {
    VfioDevice device = open(variable);
    PciExpressCapability express = get(device.config().capability(PciExpressCapability.class));
    ByteBuffer physical = physical(variable);

    assertThat(express.version()).isEqualTo(physical.get(express.offset() + 2) & 0xf);
    assertThat(express.type())
        .isIn(PciExpressCapability.Type.ENDPOINT, PciExpressCapability.Type.INTEGRATED_ENDPOINT);
    assertThat(express.maximumPayloadSupported()).isBetween(128, 4096);
    assertThat(express.functionLevelReset())
        .isEqualTo((physical.getInt(express.offset() + 4) & 1 << 28) != 0);
    if (Files.exists(sysfs(variable).resolve("max_link_width"))
        && express.type() == PciExpressCapability.Type.ENDPOINT) {
      assertThat(express.maximumLinkWidth()).isEqualTo(number(variable, "max_link_width"));
      assertThat(express.linkWidth()).isEqualTo(number(variable, "current_link_width"));
    }

    PowerManagementCapability power =
        get(device.config().capability(PowerManagementCapability.class));
    assertThat(power.version()).isEqualTo(physical.get(power.offset() + 2) & 7);
    assertThat(power.powerState()).isZero();
    run(device.close());
  }

  @Test
  void decodesSriov() throws IOException {
    String variable = "VFIO_LAB_IGB";
    VfioDevice device = open(variable);
    SriovCapability sriov = get(device.config().capability(SriovCapability.class));
    ByteBuffer physical = physical(variable);

    assertThat(sriov.totalVfs()).isEqualTo(number(variable, "sriov_totalvfs"));
    assertThat(sriov.numVfs()).isEqualTo(number(variable, "sriov_numvfs"));
    assertThat(sriov.firstVfOffset()).isEqualTo(number(variable, "sriov_offset"));
    assertThat(sriov.vfStride()).isEqualTo(number(variable, "sriov_stride"));
    assertThat(sriov.vfDeviceId())
        .isEqualTo(Integer.parseInt(
            Files.readString(sysfs(variable).resolve("sriov_vf_device")).strip(), 16));
    assertThat(sriov.supportedPageSizes()).isEqualTo(physical.getInt(sriov.offset() + 0x1c));
    assertThat(sriov.enabled()).isFalse();
    run(device.close());
  }

  @Test
  void changesTheCommandRegisterOfTheDeviceItself() throws IOException {
    VfioDevice edu = open("VFIO_LAB_EDU");
    Function<Integer, Boolean> set = bit -> {
      try {
        return (u16(physical("VFIO_LAB_EDU"), ConfigSpace.COMMAND) & bit) != 0;
      } catch (IOException e) {
        throw new AssertionError(e);
      }
    };

    run(edu.config().enableBusMaster());
    assertThat(set.apply(ConfigSpace.COMMAND_BUS_MASTER)).isTrue();
    run(edu.config().disableMemory());
    assertThat(set.apply(ConfigSpace.COMMAND_MEMORY)).isFalse();
    assertThat(set.apply(ConfigSpace.COMMAND_BUS_MASTER)).isTrue();
    run(edu.config().enableMemory());
    run(edu.config().disableBusMaster());
    assertThat(set.apply(ConfigSpace.COMMAND_MEMORY)).isTrue();
    assertThat(set.apply(ConfigSpace.COMMAND_BUS_MASTER)).isFalse();
    run(edu.close());
  }
}
