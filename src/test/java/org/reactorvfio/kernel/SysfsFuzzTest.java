package org.reactorvfio.kernel;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.reactorvfio.PciAddress;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.fuzz.Fuzz;

/** What sysfs and procfs say in words, names and links, as no kernel should say it. */
class SysfsFuzzTest {
  private static final PciAddress ADDRESS = PciAddress.parse("0000:00:04.0");

  @TempDir
  private Path folder;

  private int count;

  /** Files, names and the ends of links, a line each. */
  private static final String MACHINE = String.join(
      "\n",
      "0x1b36", // vendor
      "0x0010", // device
      "0x010802", // class
      "(null)", // override
      "7", // the group that the link names
      "vfio-pci", // the driver that the link names
      "0000:00:03.0", // the PF that the link names
      "0000:00:05.0", // another function
      "vfio0", // the device's node
      "a297db4a-f4c2-11e6-90f6-d3b88d6c9525", // a mediated device
      " 24: 1 0 IR-PCI-MSI-0000:00:04.0 0-edge", // interrupts
      "CapEff:\t0000000000000000", // status
      "Max open files 1024 4096 files");

  private static void put(Path file, String content) throws IOException {
    Files.createDirectories(file.getParent());
    Files.write(file, content.getBytes(StandardCharsets.ISO_8859_1));
  }

  private static void link(Path link, Path target) throws IOException {
    Files.createDirectories(link.getParent());
    if (!Files.exists(link, LinkOption.NOFOLLOW_LINKS)) {
      Files.createSymbolicLink(link, target);
    }
  }

  /** What a name can be: not empty, and without what the kernel itself cannot put into one. */
  private static String name(String line) {
    String name = line.replaceAll("[/\\x00]", "!");
    if (name.length() > 200) {
      name = name.substring(0, 200);
    }
    return name.isEmpty() || name.equals(".") || name.equals("..") ? "!" : name;
  }

  private static void build(Path root, List<String> lines) throws IOException {
    Path pci = root.resolve("sys/bus/pci/devices");
    Path device = pci.resolve(ADDRESS.toString());
    put(device.resolve("vendor"), lines.get(0));
    put(device.resolve("device"), lines.get(1));
    put(device.resolve("class"), lines.get(2));
    put(device.resolve("driver_override"), lines.get(3));
    String group = lines.get(4).replaceAll("\\x00", "");
    link(device.resolve("iommu_group"), Path.of(group.isEmpty() ? "/" : group));
    link(device.resolve("driver"), Path.of("../../drivers", name(lines.get(5))));
    link(device.resolve("physfn"), Path.of("..", name(lines.get(6))));
    link(device.resolve("subsystem"), Path.of("/sys/bus/pci"));
    Files.createDirectories(pci.resolve(name(lines.get(7))));
    Files.createDirectories(device.resolve("vfio-dev").resolve(name(lines.get(8))));
    link(root.resolve("sys/class/vfio-dev").resolve(name(lines.get(8))).resolve("device"), device);
    Files.createDirectories(root.resolve("sys/bus/mdev/devices").resolve(name(lines.get(9))));
    put(root.resolve("proc/interrupts"), lines.get(10));
    put(root.resolve("proc/self/status"), lines.get(11));
    put(root.resolve("proc/self/limits"), lines.get(12));
    Files.createDirectories(root.resolve("proc/self/fd"));
    Files.createDirectories(root.resolve("dev/vfio"));
    link(root.resolve("sys/kernel/iommu_groups/7/devices").resolve(ADDRESS.toString()), device);
  }

  private static void askAll(Path root) {
    PciSysfs sysfs = new PciSysfs(root.resolve("sys"));
    for (PciAddress address : sysfs.functions()) {
      Fuzz.look(
          sysfs.number(address, "vendor"),
          sysfs.group(address),
          sysfs.driver(address),
          sysfs.cdev(address),
          sysfs.physicalFunction(address));
    }
    sysfs.others().forEach(Fuzz::look);
    Fuzz.look(sysfs.members(7));
    Doctor doctor =
        new Doctor(root.resolve("sys"), root.resolve("dev"), root.resolve("proc"), r -> 1 << 20);
    Fuzz.look(doctor.examine(ADDRESS, new Needs(4 << 20, 3, false)), doctor.others(Needs.LITTLE));
  }

  private static void remove(Path root) {
    try (Stream<Path> all = Files.walk(root)) {
      all.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void anyMachineIsExamined() {
    Fuzz.of("sysfs")
        .image(MACHINE.getBytes(StandardCharsets.ISO_8859_1))
        .words("0x", "-", "+", "#", "\n", "ffffffff", "0000:00:04.0", "noiommu-", "vfio", "::", " ")
        .rounds(40)
        .largest(1024)
        .refusesNothing()
        .guidedBy(PciSysfs.class, SysfsDevice.class, Doctor.class, Diagnosis.class)
        .run(image -> {
          String text = new String(image, StandardCharsets.ISO_8859_1);
          List<String> lines = Stream.concat(
                  Stream.of(text.split("\n", -1)), Stream.generate(() -> ""))
              .limit(13)
              .toList();
          Path root = folder.resolve("machine" + count++);
          try {
            build(root, lines);
            askAll(root);
          } finally {
            remove(root);
          }
        });
  }

  @Test
  void anyAddressIsReadOrRefused() {
    Fuzz.of("pci-address")
        .image("0000:00:04.0".getBytes(StandardCharsets.ISO_8859_1))
        .image("ffffffff:ff:1f.7".getBytes(StandardCharsets.ISO_8859_1))
        .words(":", ".", "00")
        .refusedBy(IllegalArgumentException.class)
        .guidedBy(PciAddress.class)
        .run(image -> {
          PciAddress address = PciAddress.parse(new String(image, StandardCharsets.ISO_8859_1));
          if (!PciAddress.parse(address.toString()).equals(address)) {
            throw new AssertionError(address);
          }
        });
  }
}
