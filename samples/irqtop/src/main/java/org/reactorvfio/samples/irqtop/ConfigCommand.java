package org.reactorvfio.samples.irqtop;

import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.VfioException;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.region.BaseAddress;
import org.reactorvfio.region.ConfigHeader;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.MsiCapability;
import org.reactorvfio.region.MsixCapability;
import org.reactorvfio.region.OtherCapability;
import org.reactorvfio.region.PciCapability;
import org.reactorvfio.region.PciExpressCapability;
import org.reactorvfio.region.PowerManagementCapability;
import org.reactorvfio.region.SriovCapability;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** Dumps the configuration space of a device: decoded, as bytes, or both as JSON. */
final class ConfigCommand {
  /** How it is shown. */
  enum Form {
    TEXT,
    HEX,
    JSON
  }

  /** What was read. */
  private record Dump(
      String device, ConfigHeader header, List<PciCapability> capabilities, byte[] bytes) {}

  private ConfigCommand() {}

  /** The dump's lines. */
  static Flux<String> run(VfioDevice device, String label, Form form) {
    if (!device.info().pci()) {
      return Flux.error(new VfioException(
          "config",
          label,
          0,
          "the device is not PCI: it has no configuration space",
          "see its regions"));
    }
    Mono<byte[]> bytes = device.config().size().flatMap(size -> {
      ByteBuffer all = ByteBuffer.allocate(size);
      return device
          .operations()
          .read(Regions.CONFIG, 0, all)
          .map(count -> Arrays.copyOf(all.array(), count));
    });
    return Mono.zip(device.config().header(), device.config().capabilities(), bytes)
        .map(all -> new Dump(label, all.getT1(), all.getT2(), all.getT3()))
        .flatMapIterable(dump -> switch (form) {
          case TEXT -> text(dump);
          case HEX -> hex(dump.bytes);
          case JSON -> List.of(json(dump));
        });
  }

  // ---- bytes

  private static List<String> hex(byte[] bytes) {
    List<String> lines = new ArrayList<>();
    int digits = bytes.length > 256 ? 3 : 2;
    HexFormat format = HexFormat.ofDelimiter(" ");
    for (int at = 0; at < bytes.length; at += 16) {
      lines.add(String.format("%0" + digits + "x: ", at)
          + format.formatHex(bytes, at, Math.min(at + 16, bytes.length)));
    }
    return lines;
  }

  // ---- decoded

  private static List<String> text(Dump dump) {
    ConfigHeader header = dump.header;
    List<String> lines = new ArrayList<>();
    lines.add(String.format("%s %04x:%04x", dump.device, header.vendorId(), header.deviceId()));
    line(lines, "class", "%06x, revision %02x", header.classCode(), header.revision());
    if (header.headerType() == 0) {
      line(lines, "subsystem", "%04x:%04x", header.subsystemVendorId(), header.subsystemId());
    }
    line(lines, "command", "%04x%s", header.command(), command(header.command()));
    line(lines, "status", "%04x", header.status());
    line(
        lines,
        "INTx",
        header.interruptPin() == 0 ? "none" : "pin %c, line %d",
        (char) ('A' - 1 + header.interruptPin()),
        header.interruptLine());
    for (BaseAddress bar : header.baseAddresses()) {
      line(
          lines,
          "BAR " + bar.index(),
          "%s, at %#x",
          bar.io()
              ? "I/O ports"
              : "memory, " + (bar.wide() ? 64 : 32) + " bits"
                  + (bar.prefetchable() ? ", prefetchable" : ""),
          bar.address());
    }
    for (PciCapability capability : dump.capabilities) {
      line(
          lines,
          String.format("[%02x]", capability.offset()),
          "%s%s",
          name(capability),
          details(capability));
    }
    return lines;
  }

  private static void line(List<String> lines, String title, String format, Object... values) {
    lines.add(
        String.format(Locale.ROOT, "  %-10s ", title) + String.format(Locale.ROOT, format, values));
  }

  private static String command(int command) {
    StringBuilder on = new StringBuilder();
    on.append((command & ConfigSpace.COMMAND_IO) != 0 ? ", I/O" : "");
    on.append((command & ConfigSpace.COMMAND_MEMORY) != 0 ? ", memory" : "");
    on.append((command & ConfigSpace.COMMAND_BUS_MASTER) != 0 ? ", bus master" : "");
    on.append((command & ConfigSpace.COMMAND_INTX_DISABLE) != 0 ? ", INTx disabled" : "");
    return on.toString();
  }

  private static String name(PciCapability capability) {
    if (capability instanceof MsiCapability) {
      return "MSI";
    }
    if (capability instanceof MsixCapability) {
      return "MSI-X";
    }
    if (capability instanceof PciExpressCapability) {
      return "PCI Express";
    }
    if (capability instanceof PowerManagementCapability) {
      return "power management";
    }
    if (capability instanceof SriovCapability) {
      return "SR-IOV";
    }
    return String.format(
        "%s %02x", capability.extended() ? "extended capability" : "capability", capability.id());
  }

  private static String details(PciCapability capability) {
    if (capability instanceof MsiCapability msi) {
      return String.format(
          ": %d of %d vectors, %s", msi.vectorsEnabled(), msi.vectorsCapable(), on(msi.enabled()));
    }
    if (capability instanceof MsixCapability msix) {
      return String.format(
          ": %d vectors, %s, table in BAR %d at %#x, pending bits in BAR %d at %#x",
          msix.tableSize(),
          on(msix.enabled()),
          msix.tableBar(),
          msix.tableOffset(),
          msix.pendingBar(),
          msix.pendingOffset());
    }
    if (capability instanceof PciExpressCapability express) {
      String link = express.linkCapabilities() == 0
          ? "no link"
          : String.format("link x%d, speed %d", express.linkWidth(), express.linkSpeed());
      return String.format(
          ": %s, %s%s",
          express.type().name().toLowerCase(Locale.ROOT).replace('_', ' '),
          link,
          express.functionLevelReset() ? ", function level reset" : "");
    }
    if (capability instanceof PowerManagementCapability power) {
      return ": version " + power.version() + ", D" + power.powerState();
    }
    if (capability instanceof SriovCapability sriov) {
      return String.format(
          ": %d of %d virtual functions, %s",
          sriov.numVfs(), sriov.totalVfs(), on(sriov.enabled()));
    }
    return capability instanceof OtherCapability other && other.extended()
        ? ", version " + other.version()
        : "";
  }

  private static String on(boolean enabled) {
    return enabled ? "enabled" : "disabled";
  }

  // ---- JSON

  private static String json(Dump dump) {
    ConfigHeader header = dump.header;
    return Json.object(json -> {
      json.writeStringField("device", dump.device);
      json.writeNumberField("vendorId", header.vendorId());
      json.writeNumberField("deviceId", header.deviceId());
      json.writeNumberField("classCode", header.classCode());
      json.writeNumberField("revision", header.revision());
      json.writeNumberField("subsystemVendorId", header.subsystemVendorId());
      json.writeNumberField("subsystemId", header.subsystemId());
      json.writeNumberField("command", header.command());
      json.writeNumberField("status", header.status());
      json.writeNumberField("interruptPin", header.interruptPin());
      json.writeNumberField("interruptLine", header.interruptLine());
      json.writeArrayFieldStart("baseAddresses");
      for (BaseAddress bar : header.baseAddresses()) {
        json.writeStartObject();
        json.writeNumberField("index", bar.index());
        json.writeBooleanField("io", bar.io());
        json.writeBooleanField("wide", bar.wide());
        json.writeBooleanField("prefetchable", bar.prefetchable());
        json.writeStringField("address", String.format("%#x", bar.address()));
        json.writeEndObject();
      }
      json.writeEndArray();
      json.writeArrayFieldStart("capabilities");
      for (PciCapability capability : dump.capabilities) {
        json.writeStartObject();
        capability(json, capability);
        json.writeEndObject();
      }
      json.writeEndArray();
      json.writeStringField("data", HexFormat.of().formatHex(dump.bytes));
    });
  }

  private static void capability(JsonGenerator json, PciCapability capability) throws IOException {
    json.writeNumberField("offset", capability.offset());
    json.writeNumberField("id", capability.id());
    json.writeBooleanField("extended", capability.extended());
    json.writeStringField("name", name(capability));
    json.writeStringField("details", details(capability).replaceFirst("^[:,] ", ""));
  }
}
