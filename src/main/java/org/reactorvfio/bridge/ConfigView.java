package org.reactorvfio.bridge;

import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.region.BaseAddress;
import org.reactorvfio.region.CapabilityListException;
import org.reactorvfio.region.ConfigHeader;
import org.reactorvfio.region.ConfigSpace;
import org.reactorvfio.region.MsiCapability;
import org.reactorvfio.region.MsixCapability;
import org.reactorvfio.region.OtherCapability;
import org.reactorvfio.region.PciCapability;
import org.reactorvfio.region.PciExpressCapability;
import org.reactorvfio.region.PowerManagementCapability;
import org.reactorvfio.region.SriovCapability;
import reactor.core.publisher.Mono;

/**
 * Configuration space for the eye: what the library knows of it, by name. Names and offsets are those of PCI Express Base 5.0, 7.5
 * to 7.9.
 */
final class ConfigView {
  private static final int BAR0 = 0x10;

  private static final List<String> COMMAND = List.of(
      "I/O space",
      "Memory space",
      "Bus master",
      "Special cycles",
      "Write and invalidate",
      "VGA palette snoop",
      "Parity error response",
      "",
      "SERR#",
      "Fast back-to-back",
      "INTx disable");

  private static final List<String> STATUS = List.of(
      "",
      "",
      "",
      "INTx pending",
      "Capability list",
      "66 MHz",
      "",
      "Fast back-to-back",
      "Master data parity error",
      "",
      "",
      "Signalled target abort",
      "Received target abort",
      "Received master abort",
      "Signalled system error",
      "Detected parity error");

  private static final List<String> CLASSES = List.of(
      "Unclassified",
      "Mass storage controller",
      "Network controller",
      "Display controller",
      "Multimedia controller",
      "Memory controller",
      "Bridge",
      "Communication controller",
      "System peripheral",
      "Input device controller",
      "Docking station",
      "Processor",
      "Serial bus controller",
      "Wireless controller",
      "Intelligent controller",
      "Satellite communication controller",
      "Encryption controller",
      "Signal processing controller",
      "Processing accelerator",
      "Instrumentation");

  private static final List<String> STANDARD = List.of(
      "Null",
      "Power Management",
      "AGP",
      "Vital Product Data",
      "Slot Identification",
      "MSI",
      "CompactPCI Hot Swap",
      "PCI-X",
      "HyperTransport",
      "Vendor-Specific",
      "Debug Port",
      "CompactPCI Resource Control",
      "PCI Hot-Plug",
      "Bridge Subsystem Vendor ID",
      "AGP 8x",
      "Secure Device",
      "PCI Express",
      "MSI-X",
      "SATA",
      "Advanced Features",
      "Enhanced Allocation",
      "Flattening Portal Bridge");

  private static final List<String> EXTENDED = List.of(
      "Null",
      "Advanced Error Reporting",
      "Virtual Channel",
      "Device Serial Number",
      "Power Budgeting",
      "Root Complex Link Declaration",
      "Root Complex Internal Link Control",
      "Root Complex Event Collector Endpoint Association",
      "Multi-Function Virtual Channel",
      "Virtual Channel (MFVC)",
      "Root Complex Register Block",
      "Vendor-Specific",
      "Configuration Access Correlation",
      "Access Control Services",
      "Alternative Routing-ID Interpretation",
      "Address Translation Services",
      "SR-IOV",
      "MR-IOV",
      "Multicast",
      "Page Request Interface",
      "AMD reserved",
      "Resizable BAR",
      "Dynamic Power Allocation",
      "TPH Requester",
      "Latency Tolerance Reporting",
      "Secondary PCI Express",
      "Protocol Multiplexing",
      "Process Address Space ID",
      "LN Requester",
      "Downstream Port Containment",
      "L1 PM Substates",
      "Precision Time Measurement",
      "PCI Express over M-PHY",
      "Function Readiness Status Queueing",
      "Readiness Time Reporting",
      "Designated Vendor-Specific",
      "VF Resizable BAR",
      "Data Link Feature",
      "Physical Layer 16.0 GT/s",
      "Lane Margining at the Receiver",
      "Hierarchy ID",
      "Native PCI Express Enclosure Management",
      "Physical Layer 32.0 GT/s",
      "Alternate Protocol",
      "System Firmware Intermediary",
      "Shadow Functions",
      "Data Object Exchange");

  private ConfigView() {}

  /** Reads a PCI device's configuration space for whoever may. */
  static Mono<Json.Content> read(DeviceCalls calls) {
    return Mono.defer(() -> {
      calls.require(Permission.READ_CONFIG, "read");
      VfioDevice device = calls.device();
      ConfigSpace config = device.config();
      return Mono.zip(config.header(), capabilities(config), bytes(calls, config))
          .map(all -> view(device, all.getT1(), all.getT2(), all.getT3()));
    });
  }

  /** The capabilities, or why the list is none. */
  private record Capabilities(
      List<PciCapability> list, @Nullable String problem) {}

  private static Mono<Capabilities> capabilities(ConfigSpace config) {
    return config
        .capabilities()
        .map(list -> new Capabilities(list, null))
        .onErrorResume(
            CapabilityListException.class,
            e -> Mono.just(new Capabilities(List.of(), e.getMessage())));
  }

  private static Mono<byte[]> bytes(DeviceCalls calls, ConfigSpace config) {
    return config.size().flatMap(size -> {
      ByteBuffer bytes = ByteBuffer.allocate(size);
      return Mono.defer(() -> calls.read(Regions.CONFIG, bytes.position(), bytes))
          .repeat()
          .takeUntil(count -> count <= 0 || !bytes.hasRemaining())
          .then(Mono.fromSupplier(() -> Arrays.copyOf(bytes.array(), bytes.position())));
    });
  }

  private static Json.Content view(
      VfioDevice device, ConfigHeader header, Capabilities capabilities, byte[] bytes) {
    return json -> {
      json.writeNumberField("size", bytes.length);
      json.writeArrayFieldStart("header");
      header(json, header);
      json.writeEndArray();
      json.writeArrayFieldStart("bars");
      for (BaseAddress bar : header.baseAddresses()) {
        bar(json, bar, device.region(Regions.BAR0 + bar.index()).info().size());
      }
      json.writeEndArray();
      json.writeArrayFieldStart("capabilities");
      for (PciCapability capability : capabilities.list()) {
        capability(json, capability);
      }
      json.writeEndArray();
      if (capabilities.problem() != null) {
        json.writeStringField("problem", capabilities.problem());
      }
      json.writeStringField("data", HexFormat.of().formatHex(bytes));
    };
  }

  // ---- the header

  private static void header(JsonGenerator json, ConfigHeader header) throws IOException {
    register(json, "Vendor ID", 0x00, 2, header.vendorId(), "");
    register(json, "Device ID", 0x02, 2, header.deviceId(), "");
    bits(json, "Command", 0x04, header.command(), COMMAND);
    bits(json, "Status", 0x06, header.status(), STATUS);
    register(json, "Revision", 0x08, 1, header.revision(), "");
    register(json, "Class code", 0x09, 3, header.classCode(), className(header.classCode()));
    register(json, "Header type", 0x0e, 1, headerType(header), headerName(header));
    if (header.headerType() == 0) {
      register(json, "Subsystem vendor ID", 0x2c, 2, header.subsystemVendorId(), "");
      register(json, "Subsystem ID", 0x2e, 2, header.subsystemId(), "");
    }
    register(json, "Capabilities pointer", 0x34, 1, header.capabilitiesPointer(), "");
    register(json, "Interrupt line", 0x3c, 1, header.interruptLine(), "");
    int pin = header.interruptPin();
    String name = pin >= 1 && pin <= 4 ? "INT" + (char) ('A' + pin - 1) + "#" : "";
    register(json, "Interrupt pin", 0x3d, 1, pin, pin == 0 ? "none" : name);
  }

  private static int headerType(ConfigHeader header) {
    return header.headerType() | (header.multiFunction() ? 0x80 : 0);
  }

  private static String headerName(ConfigHeader header) {
    String layout = switch (header.headerType()) {
      case 0 -> "device";
      case 1 -> "bridge";
      default -> "unknown layout";
    };
    return header.multiFunction() ? layout + ", one of several functions" : layout;
  }

  private static String className(int code) {
    int base = code >> 16;
    return base < CLASSES.size() ? CLASSES.get(base) : "";
  }

  private static void start(JsonGenerator json, String name, int offset, int width, long value)
      throws IOException {
    json.writeStartObject();
    json.writeStringField("name", name);
    json.writeNumberField("offset", offset);
    json.writeStringField("value", hex(value, width));
  }

  private static void register(
      JsonGenerator json, String name, int offset, int width, long value, String meaning)
      throws IOException {
    start(json, name, offset, width, value);
    if (!meaning.isEmpty()) {
      json.writeStringField("meaning", meaning);
    }
    json.writeEndObject();
  }

  private static void bits(
      JsonGenerator json, String name, int offset, int value, List<String> names)
      throws IOException {
    start(json, name, offset, 2, value);
    json.writeArrayFieldStart("bits");
    for (int i = 0; i < names.size(); i++) {
      if (!names.get(i).isEmpty()) {
        json.writeStartObject();
        json.writeNumberField("bit", i);
        json.writeStringField("name", names.get(i));
        json.writeBooleanField("set", (value >> i & 1) != 0);
        json.writeEndObject();
      }
    }
    json.writeEndArray();
    json.writeEndObject();
  }

  private static String hex(long value, int bytes) {
    return String.format("0x%0" + 2 * bytes + "x", value);
  }

  private static void bar(JsonGenerator json, BaseAddress bar, long size) throws IOException {
    json.writeStartObject();
    json.writeNumberField("index", bar.index());
    json.writeNumberField("offset", BAR0 + 4 * bar.index());
    json.writeStringField("address", hex(bar.address(), bar.wide() ? 8 : 4));
    json.writeNumberField("size", size);
    json.writeStringField("kind", bar.io() ? "I/O ports" : "memory");
    json.writeNumberField("bits", bar.wide() ? 64 : 32);
    json.writeBooleanField("prefetchable", bar.prefetchable());
    json.writeEndObject();
  }

  // ---- capabilities

  static String name(boolean extended, int id) {
    List<String> names = extended ? EXTENDED : STANDARD;
    return id < names.size() ? names.get(id) : "Unknown";
  }

  private static void capability(JsonGenerator json, PciCapability capability) throws IOException {
    boolean extended = capability.extended();
    json.writeStartObject();
    json.writeNumberField("offset", capability.offset());
    json.writeStringField("id", hex(capability.id(), extended ? 2 : 1));
    json.writeStringField("name", name(extended, capability.id()));
    json.writeBooleanField("extended", extended);
    json.writeArrayFieldStart("fields");
    fields(new Fields(json), capability);
    json.writeEndArray();
    json.writeEndObject();
  }

  /** Writes what a capability says. */
  private record Fields(JsonGenerator json) {
    Fields put(String name, Object value) throws IOException {
      json.writeStartObject();
      json.writeStringField("name", name);
      json.writeStringField(
          "value", value instanceof Boolean flag ? flag ? "yes" : "no" : value.toString());
      json.writeEndObject();
      return this;
    }
  }

  private static void fields(Fields out, PciCapability capability) throws IOException {
    if (capability instanceof MsiCapability msi) {
      out.put("Message control", hex(msi.messageControl(), 2))
          .put("Enabled", msi.enabled())
          .put("Vectors", msi.vectorsEnabled() + " of " + msi.vectorsCapable())
          .put("64-bit address", msi.wideAddress())
          .put("Per-vector masking", msi.perVectorMasking());
    } else if (capability instanceof MsixCapability msix) {
      out.put("Message control", hex(msix.messageControl(), 2))
          .put("Enabled", msix.enabled())
          .put("All masked", msix.functionMasked())
          .put("Vectors", msix.tableSize())
          .put("Table", place(msix.tableBar(), msix.tableOffset()))
          .put("Pending bits", place(msix.pendingBar(), msix.pendingOffset()));
    } else if (capability instanceof PowerManagementCapability power) {
      out.put("Version", power.version())
          .put("Power state", "D" + power.powerState() + (power.powerState() == 3 ? "hot" : ""))
          .put("Keeps its state from D3hot", power.keepsState());
    } else if (capability instanceof PciExpressCapability express) {
      express(out, express);
    } else if (capability instanceof SriovCapability sriov) {
      out.put("Version", sriov.version())
          .put("Control", hex(sriov.control(), 2))
          .put("Enabled", sriov.enabled())
          .put("VFs", sriov.numVfs() + " of " + sriov.totalVfs())
          .put("Initial VFs", sriov.initialVfs())
          .put("First VF offset, stride", sriov.firstVfOffset() + ", " + sriov.vfStride())
          .put("VF device ID", hex(sriov.vfDeviceId(), 2));
    } else if (capability instanceof OtherCapability other && other.extended()) {
      out.put("Version", other.version());
    }
  }

  private static void express(Fields out, PciExpressCapability express) throws IOException {
    out.put("Version", express.version())
        .put("Type", express.type().name().toLowerCase(Locale.ROOT).replace('_', ' '))
        .put("Device control", hex(express.deviceControl(), 2))
        .put("Function level reset", express.functionLevelReset())
        .put(
            "Maximum payload",
            express.maximumPayload() + " of " + express.maximumPayloadSupported() + " bytes")
        .put("Maximum read request", express.maximumReadRequest() + " bytes");
    if (express.maximumLinkWidth() > 0) {
      out.put("Link", link(express.linkSpeed(), express.linkWidth()))
          .put("Link at most", link(express.maximumLinkSpeed(), express.maximumLinkWidth()));
    }
  }

  private static String link(int generation, int lanes) {
    return "generation " + generation + ", x" + lanes;
  }

  private static String place(int bar, long offset) {
    return "BAR " + bar + " at 0x" + Long.toHexString(offset);
  }
}
