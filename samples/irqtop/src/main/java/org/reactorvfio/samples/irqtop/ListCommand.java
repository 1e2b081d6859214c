package org.reactorvfio.samples.irqtop;

import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.reactorvfio.Vfio;
import org.reactorvfio.discovery.PciFunction;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/** Lists the PCI functions of this machine, or the devices of servers. */
final class ListCommand {
  private ListCommand() {}

  /** The list's lines. */
  static Flux<String> run(List<URI> servers, Access access, boolean json) {
    if (servers.isEmpty()) {
      Flux<PciFunction> functions = Vfio.devices();
      return json
          ? functions.map(ListCommand::json)
          : functions
              .map(ListCommand::cells)
              .collectList()
              .flatMapIterable(rows ->
                  table(List.of("DEVICE", "ID", "CLASS", "DRIVER", "GROUP", "STATE"), rows));
    }
    Flux<Remote> devices = Flux.fromIterable(servers)
        .concatMap(server -> access
            .remote(server)
            .devices()
            .concatMap(name -> Mono.zip(
                new Server(server, access).properties(name),
                new Server(server, access).irqs(name),
                (properties, irqs) -> new Remote(server, name, properties, irqs))));
    return json
        ? devices.map(Remote::json)
        : devices
            .map(Remote::cells)
            .collectList()
            .flatMapIterable(
                rows -> table(List.of("DEVICE", "KIND", "INTERRUPTS", "ALLOWED"), rows));
  }

  /** A head and rows, in columns as wide as their widest cell, two spaces apart. */
  private static List<String> table(List<String> head, List<List<String>> rows) {
    List<List<String>> all = new ArrayList<>();
    all.add(head);
    all.addAll(rows);
    int columns = head.size();
    int[] widths = new int[columns];
    for (List<String> row : all) {
      // Nothing is behind the last one.
      for (int i = 0; i < columns - 1; i++) {
        widths[i] = Math.max(widths[i], row.get(i).length() + 2);
      }
    }
    List<String> lines = new ArrayList<>();
    for (List<String> row : all) {
      StringBuilder line = new StringBuilder();
      for (int i = 0; i < columns; i++) {
        line.append(row.get(i))
            .append(" ".repeat(Math.max(0, widths[i] - row.get(i).length())));
      }
      lines.add(line.toString());
    }
    return lines;
  }

  private static String id(PciFunction function) {
    return String.format("%04x:%04x", function.vendorId(), function.deviceId());
  }

  static List<String> cells(PciFunction function) {
    String hindrance = function.findings().stream()
        .filter(finding -> finding.certain())
        .map(finding -> finding.failure().problem())
        .findFirst()
        .orElse("can be opened");
    return List.of(
        function.address().toString(),
        id(function),
        String.format("%06x", function.classCode()),
        function.driver().orElse("-"),
        function.group().isPresent() ? String.valueOf(function.group().getAsInt()) : "-",
        hindrance);
  }

  static String json(PciFunction function) {
    return Json.object(json -> {
      json.writeStringField("device", function.address().toString());
      json.writeStringField("id", id(function));
      json.writeStringField("class", String.format("%06x", function.classCode()));
      if (function.driver().isPresent()) {
        json.writeStringField("driver", function.driver().get());
      }
      if (function.group().isPresent()) {
        json.writeNumberField("group", function.group().getAsInt());
      }
      json.writeBooleanField("canOpen", function.canOpen());
      json.writeArrayFieldStart("findings");
      for (var finding : function.findings()) {
        json.writeStartObject();
        json.writeBooleanField("certain", finding.certain());
        json.writeStringField("problem", finding.failure().problem());
        json.writeStringField("remedy", finding.failure().remedy());
        json.writeEndObject();
      }
      json.writeEndArray();
    });
  }

  /** A device of a server. */
  private record Remote(
      URI server, String name, Map<String, String> properties, List<Server.Irq> irqs) {
    private String address() {
      return Target.text(server, name);
    }

    private List<String> cells() {
      return List.of(
          address(),
          properties.getOrDefault("kind", "-"),
          irqs.isEmpty() ? "-" : irqs.stream().map(Remote::cell).collect(Collectors.joining(" ")),
          properties.getOrDefault("allowed", "-"));
    }

    private static String cell(Server.Irq irq) {
      return Irqs.name(irq.index()) + ":" + irq.count() + (irq.enabled() ? "*" : "");
    }

    private String json() {
      return Json.object(json -> {
        json.writeStringField("device", address());
        json.writeStringField("kind", properties.getOrDefault("kind", ""));
        json.writeArrayFieldStart("interrupts");
        for (Server.Irq irq : irqs) {
          json.writeStartObject();
          json.writeNumberField("index", irq.index());
          json.writeStringField("name", Irqs.name(irq.index()));
          json.writeNumberField("count", irq.count());
          json.writeBooleanField("enabled", irq.enabled());
          json.writeEndObject();
        }
        json.writeEndArray();
        json.writeArrayFieldStart("allowed");
        for (String permission : properties.getOrDefault("allowed", "").split(" ")) {
          if (!permission.isEmpty()) {
            json.writeString(permission);
          }
        }
        json.writeEndArray();
      });
    }
  }
}
