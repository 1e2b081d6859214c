package org.reactorvfio.kernel;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.IntToLongFunction;
import java.util.stream.Stream;
import org.reactorvfio.DescriptorLimitException;
import org.reactorvfio.MemoryLockLimitException;
import org.reactorvfio.PciAddress;
import org.reactorvfio.VfTokenException;
import org.reactorvfio.VfioException;
import org.reactorvfio.discovery.Finding;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.discovery.PciFunction;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.linux.Syscalls;

/** Looks at everything that opening a function depends on, and opens nothing. Needs no rights. May block. */
public final class Doctor {
  /** This machine's. */
  public static final Doctor HOST =
      new Doctor(Path.of("/sys"), Path.of("/dev"), Path.of("/proc"), Syscalls::softLimit);

  /** {@code CAP_IPC_LOCK} of {@code linux/capability.h}. */
  private static final int CAP_IPC_LOCK = 14;

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
    List<Finding> findings = new ArrayList<>();
    SysfsDevice device = sysfs.device(address);
    OptionalInt group = device.group();
    try {
      diagnosis.require(device, false);
      openable(address, group.orElse(-1), findings);
    } catch (VfioException e) {
      findings.add(new Finding(e, true));
    }
    token(address, needs, findings);
    limits(address, needs, findings);
    findings.sort(Comparator.comparing(Finding::certain).reversed());
    return new PciFunction(
        address,
        sysfs.number(address, "vendor"),
        sysfs.number(address, "device"),
        sysfs.number(address, "class"),
        sysfs.driver(address),
        group,
        sysfs.physicalFunction(address),
        findings);
  }

  /** What stands in the way of both of the kernel's interfaces: one that works is enough. */
  private void openable(PciAddress address, int group, List<Finding> findings) {
    if (sysfs.members(group).stream().anyMatch(PciSysfs.Member::blocks)) {
      findings.add(new Finding(diagnosis.notViable(sysfs.device(address), group), true));
    }
    List<VfioException> overGroup = new ArrayList<>();
    node(address, dev.resolve("vfio/vfio")).ifPresent(overGroup::add);
    node(address, dev.resolve("vfio/" + group)).ifPresent(overGroup::add);
    // The kernel shows the device's name whether or not it has been built with cdevs.
    Optional<String> cdev = sysfs
        .cdev(address)
        .filter(name -> Files.exists(dev.resolve("iommu"))
            || Files.exists(dev.resolve("vfio/devices/" + name)));
    List<VfioException> overCdev = new ArrayList<>();
    cdev.ifPresent(name -> {
      node(address, dev.resolve("iommu")).ifPresent(overCdev::add);
      node(address, dev.resolve("vfio/devices/" + name)).ifPresent(overCdev::add);
    });
    if (!interruptsRemapped()) {
      VfioException refused = Diagnosis.noInterruptRemapping(
          address.toString(), new LinuxException("open", Errno.EPERM));
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

  private Optional<VfioException> node(PciAddress address, Path node) {
    if (!Files.exists(node)) {
      return Optional.of(diagnosis.openFailed(
          sysfs.device(address), node.toString(), new LinuxException("open", Errno.ENOENT)));
    }
    return Files.isReadable(node) && Files.isWritable(node)
        ? Optional.empty()
        : Optional.of(diagnosis.openFailed(
            sysfs.device(address), node.toString(), new LinuxException("open", Errno.EACCES)));
  }

  /** On x86 the interrupt controllers' names tell; elsewhere this cannot be seen, and is taken for granted. */
  private boolean interruptsRemapped() {
    try (Stream<String> lines = Files.lines(proc.resolve("interrupts"))) {
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

  private void limits(PciAddress address, Needs needs, List<Finding> findings) {
    long locked = softLimit.applyAsLong(Syscalls.RLIMIT_MEMLOCK);
    if (locked < needs.dmaMemory() && !mayLock()) {
      findings.add(new Finding(
          new MemoryLockLimitException(
              "DMA map",
              address.toString(),
              Errno.ENOMEM,
              needs.dmaMemory() + " bytes cannot be pinned; RLIMIT_MEMLOCK is " + locked + " bytes",
              KernelErrors.RAISE_MEMLOCK),
          false));
    }
    long descriptors = softLimit.applyAsLong(Syscalls.RLIMIT_NOFILE);
    long needed = descriptorsInUse() + OWN_DESCRIPTORS + needs.vectors();
    if (descriptors < needed) {
      findings.add(new Finding(
          new DescriptorLimitException(
              "eventfd",
              address.toString(),
              Errno.EMFILE,
              "about " + needed + " descriptors will be needed; RLIMIT_NOFILE is " + descriptors,
              "raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE= of a systemd unit)"),
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

  private boolean mayLock() {
    try (Stream<String> lines = Files.lines(proc.resolve("self/status"))) {
      return lines
          .filter(line -> line.startsWith("CapEff:"))
          .mapToLong(line -> Long.parseUnsignedLong(line.substring(7).strip(), 16))
          .anyMatch(capabilities -> (capabilities >> CAP_IPC_LOCK & 1) != 0);
    } catch (IOException e) {
      return false;
    }
  }
}
