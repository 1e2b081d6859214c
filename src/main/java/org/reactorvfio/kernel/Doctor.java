package org.reactorvfio.kernel;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.function.IntToLongFunction;
import java.util.stream.Stream;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfTokenException;
import org.reactorvfio.VfioException;
import org.reactorvfio.discovery.Finding;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.discovery.OtherDevice;
import org.reactorvfio.discovery.PciFunction;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Syscalls;

/** Looks at everything that opening a function depends on, and opens nothing. Needs no rights. May block. */
public final class Doctor {
  /** This machine's. */
  public static final Doctor HOST =
      new Doctor(Path.of("/sys"), Path.of("/dev"), Path.of("/proc"), Syscalls::softLimit);

  /** What a device needs beside its vectors: itself, group, container, loop, REQ and ERR. */
  private static final int OWN_DESCRIPTORS = 16;

  private final Path dev;
  private final Path proc;
  private final Path sys;
  private final IntToLongFunction softLimit;
  private final PciSysfs sysfs;
  private final Diagnosis diagnosis;

  Doctor(Path sys, Path dev, Path proc, IntToLongFunction softLimit) {
    this.sys = sys;
    this.dev = dev;
    this.proc = proc;
    this.softLimit = softLimit;
    this.sysfs = new PciSysfs(sys);
    this.diagnosis = new Diagnosis(sysfs);
  }

  /** All functions of the machine, in the order of their addresses. */
  public List<PciAddress> functions() {
    return sysfs.functions();
  }

  /** The driver of a function, empty for none. */
  public Optional<String> driver(PciAddress address) {
    return sysfs.driver(address);
  }

  /** Examines a function. */
  public PciFunction examine(PciAddress address, Needs needs) {
    SysfsDevice device = sysfs.device(address);
    List<Finding> findings = openable(device);
    token(address, needs, findings);
    limits(device.name(), needs, findings);
    findings.sort(Comparator.comparing(Finding::certain).reversed());
    return new PciFunction(
        address,
        sysfs.number(address, "vendor"),
        sysfs.number(address, "device"),
        sysfs.number(address, "class"),
        device.driver(),
        device.group(),
        sysfs.physicalFunction(address),
        findings);
  }

  /** Examines everything that VFIO offers and that is not PCI. */
  public List<OtherDevice> others(Needs needs) {
    List<OtherDevice> others = new ArrayList<>();
    for (SysfsDevice device : sysfs.others()) {
      List<Finding> findings = openable(device);
      limits(device.name(), needs, findings);
      findings.sort(Comparator.comparing(Finding::certain).reversed());
      others.add(new OtherDevice(
          device.directory(),
          device.name(),
          device.bus(),
          device.driver(),
          device.group(),
          findings));
    }
    return others;
  }

  private List<Finding> openable(SysfsDevice device) {
    List<Finding> findings = new ArrayList<>();
    try {
      diagnosis.require(device, true);
      if (device.withoutIommu()) {
        // It depends on the options that it is opened with.
        findings.add(new Finding(Diagnosis.notAllowed(device.name()), false));
      }
      openable(device, findings);
    } catch (VfioException e) {
      findings.add(new Finding(e, true));
    }
    return findings;
  }

  /** What stands in the way of both of the kernel's interfaces: one that works is enough. */
  private void openable(SysfsDevice device, List<Finding> findings) {
    List<VfioException> overGroup = new ArrayList<>();
    node(device, dev.resolve("vfio/vfio")).ifPresent(overGroup::add);
    device.group().ifPresent(group -> {
      if (sysfs.members(group).stream().anyMatch(PciSysfs.Member::blocks)) {
        findings.add(new Finding(diagnosis.notViable(device, group), true));
      }
      node(device, dev.resolve("vfio/" + device.groupNode(group))).ifPresent(overGroup::add);
    });
    // The kernel shows the device's name whether or not it has been built with cdevs.
    Optional<String> cdev = device
        .cdev()
        .filter(name -> Files.exists(dev.resolve("iommu"))
            || Files.exists(dev.resolve("vfio/devices/" + name)));
    List<VfioException> overCdev = new ArrayList<>();
    cdev.ifPresent(name -> {
      node(device, dev.resolve("iommu")).ifPresent(overCdev::add);
      node(device, dev.resolve("vfio/devices/" + name)).ifPresent(overCdev::add);
    });
    // What does no DMA of its own, and what no IOMMU holds anyway, is not asked for that.
    boolean held = !device.withoutIommu() && !device.bus().equals(SysfsDevice.MDEV);
    if (held && !interruptsRemapped()) {
      VfioException refused =
          Diagnosis.noInterruptRemapping(device.name(), new LinuxException("open", Errno.EPERM));
      if (!unsafeInterruptsAllowed("vfio_iommu_type1")) {
        overGroup.add(refused);
      }
      if (!unsafeInterruptsAllowed("iommufd")) {
        overCdev.add(refused);
      }
    }
    if (cdev.isEmpty()) {
      overCdev.clear();
    } else if (overCdev.isEmpty()) {
      return;
    }
    if (!overGroup.isEmpty()) {
      Stream.concat(overGroup.stream(), overCdev.stream())
          .distinct()
          .forEach(failure -> findings.add(new Finding(failure, true)));
    }
  }

  private Optional<VfioException> node(SysfsDevice device, Path node) {
    if (!Files.exists(node)) {
      return Optional.of(
          diagnosis.openFailed(device, node.toString(), new LinuxException("open", Errno.ENOENT)));
    }
    return Files.isReadable(node) && Files.isWritable(node)
        ? Optional.empty()
        : Optional.of(diagnosis.openFailed(
            device, node.toString(), new LinuxException("open", Errno.EACCES)));
  }

  /** On x86 the interrupt controllers' names tell; elsewhere this cannot be seen, and is taken for granted. */
  private boolean interruptsRemapped() {
    try (Stream<String> lines =
        Files.lines(proc.resolve("interrupts"), StandardCharsets.ISO_8859_1)) {
      List<String> all = lines.toList();
      boolean x86 = all.stream().anyMatch(line -> line.contains("IO-APIC"));
      return !x86 || all.stream().anyMatch(line -> line.contains(" IR-"));
    } catch (IOException e) {
      return true;
    }
  }

  private boolean unsafeInterruptsAllowed(String module) {
    Path parameter = sys.resolve("module/" + module + "/parameters/allow_unsafe_interrupts");
    return PciSysfs.read(parameter).filter("Y"::equals).isPresent();
  }

  private void token(PciAddress address, Needs needs, List<Finding> findings) {
    boolean needed = sysfs
        .physicalFunction(address)
        .flatMap(sysfs::driver)
        .filter(PciSysfs::isVfioDriver)
        .isPresent();
    if (needed && !needs.vfToken()) {
      VfioException failure = diagnosis.deviceFailed(
          sysfs.device(address), false, new LinuxException("open", Errno.EACCES));
      findings.add(new Finding((VfTokenException) failure, true));
    }
  }

  private void limits(String device, Needs needs, List<Finding> findings) {
    long locked = softLimit.applyAsLong(Syscalls.RLIMIT_MEMLOCK);
    if (locked < needs.dmaMemory() && !LockedMemory.isUnlimited(proc)) {
      findings.add(new Finding(
          new MemoryLockLimitException(
              "DMA map",
              device,
              Errno.ENOMEM,
              needs.dmaMemory() + " bytes cannot be pinned; RLIMIT_MEMLOCK is " + locked + " bytes",
              KernelErrors.raiseMemoryLock(needs.dmaMemory())),
          false));
    }
    long descriptors = softLimit.applyAsLong(Syscalls.RLIMIT_NOFILE);
    long needed = descriptorsInUse() + OWN_DESCRIPTORS + needs.vectors();
    if (descriptors < needed) {
      findings.add(new Finding(
          new DescriptorLimitException(
              "eventfd",
              device,
              Errno.EMFILE,
              "about " + needed + " descriptors will be needed; RLIMIT_NOFILE is " + descriptors,
              KernelErrors.raiseDescriptors(needed)),
          false));
    }
  }

  private long descriptorsInUse() {
    try (Stream<Path> open = Files.list(proc.resolve("self/fd"))) {
      return open.count();
    } catch (IOException e) {
      return 0;
    }
  }
}
